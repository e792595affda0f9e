"""`python -m posenc benchmark` times training steps of posenc and of other libraries. See docs/performance.md."""
