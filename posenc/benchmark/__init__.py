"""What a training step costs: `python -m posenc benchmark` times all contestants in turn, in one process.

Rounds are interleaved, so that a drift of the machine's speed meets every contestant alike; every ratio is of medians
from one run. See docs/performance.md.
"""
