"""The share of the peak learning rate at a step."""

import math
from collections.abc import Callable

Schedule = Callable[[int, int, int], float]
"""(step, steps of warm-up, last step) → share of the peak learning rate."""


def warmup_cosine(step: int, warmup: int, total: int) -> float:
    """The share of the peak learning rate at `step`: a linear rise over `warmup` steps, then a cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup))))


def warmup_decay(step: int, warmup: int, begin: int, length: int) -> float:
    """The share at step t for a run whose end is not known: linear warm-up, constant rate, linear decay to zero.

        min(1, (t + 1) / warmup) · min(1, max(0, 1 − (t − begin) / length))

    The decay begins at step `begin` with share 1 and ends after `length` steps. Before `begin` the share does not
    depend on `begin`, so the decay may begin at any step. Runs that end at different steps have the same decay.
    Source: Hägele et al. 2024 (https://arxiv.org/abs/2405.18392), who find that a constant rate with a decay at the end
    is as good as a cosine. The linear decay is from Zhai et al. 2022 (https://arxiv.org/abs/2106.04560).
    """
    rising = min(1.0, (step + 1) / warmup) if warmup else 1.0
    return rising * min(1.0, max(0.0, 1 - (step - begin) / length))
