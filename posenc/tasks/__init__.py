"""Tasks. Each file has one family: probability laws for sequences and targets, with the best possible accuracy."""
