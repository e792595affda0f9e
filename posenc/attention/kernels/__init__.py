"""Kernels: ways to compute attention that are faster or need less memory than its definition."""
