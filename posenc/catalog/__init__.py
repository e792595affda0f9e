"""Pages of all encodings and of all tasks, from their own docstrings."""
