"""Makes figures and pages from sentences and numbers."""
