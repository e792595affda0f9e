"""What train.py runs: one job or a sweep of them, and what the terminal says of it."""
