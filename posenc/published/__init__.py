"""Claims that others published: each is a file, a sweep of runs, and a verdict by the rule that studies have."""
