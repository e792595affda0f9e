"""Computes differences, verdicts and sentences from arms."""
