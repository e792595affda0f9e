"""Everything that train.py runs: one job or a sweep of jobs, and the output in the terminal."""
