"""One chart a study."""
