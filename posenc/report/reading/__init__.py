"""Reads run folders and tables, and groups runs into arms."""
