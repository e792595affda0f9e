"""How a trained model is tested: fixed sets of sequences, read in chunks until the score is known well enough."""
