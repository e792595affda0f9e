"""Training: data, the Lightning module, the trainer, checkpoints, and the criteria that end a run."""
