"""The test of a trained model: fixed sets of sequences, read in chunks until the score is known well enough."""
