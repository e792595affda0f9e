"""Sentences and numbers into figures and pages."""
