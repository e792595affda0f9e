"""Loads, tests and exports finished runs."""
