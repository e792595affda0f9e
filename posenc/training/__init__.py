"""Training: data, the Lightning module, the trainer, checkpoints, and what ends a run."""
