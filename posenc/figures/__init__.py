"""Figures that several packages draw with matplotlib."""
