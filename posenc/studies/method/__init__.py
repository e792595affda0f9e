"""What all studies share: arms, starts, training, verdicts, processes."""
