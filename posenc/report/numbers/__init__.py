"""Arms into differences, verdicts and sentences."""
