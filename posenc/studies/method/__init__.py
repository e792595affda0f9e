"""Code that all studies share: arms, training, verdicts, processes."""
