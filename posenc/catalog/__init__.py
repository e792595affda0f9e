"""Tables and pages of all encodings, tasks and recipes, made from docstrings and config files."""
