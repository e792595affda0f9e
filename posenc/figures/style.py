"""Colours of all figures."""

INK = "#333333"
ACCENT = "#3b6ea8"
