"""Run folders and tables into runs and arms."""
