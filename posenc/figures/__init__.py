"""Figures of matplotlib that several rooms draw."""
