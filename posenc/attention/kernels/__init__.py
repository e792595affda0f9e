"""Attention computed in other ways than by its definition: faster, or in less memory."""
