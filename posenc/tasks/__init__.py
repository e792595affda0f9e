"""Tasks, one file a family: a law for sequences and targets, with the accuracy that is achievable."""
