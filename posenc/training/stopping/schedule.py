"""The share of the peak learning rate at a step."""

import math
from collections.abc import Callable

Schedule = Callable[[int, int, int], float]
"""From a step, the steps of warm-up and the last step to a share of the peak learning rate."""


def warmup_cosine(step: int, warmup: int, total: int) -> float:
    """The share of the peak learning rate at `step`: linear up to it over `warmup` steps, then a cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup))))


def warmup_decay(step: int, warmup: int, begin: int, length: int) -> float:
    """The share at step t of a schedule whose end need not be known: linear warm-up, constant, linear decay to zero.

        min(1, (t + 1) / warmup) · min(1, max(0, 1 − (t − begin) / length))

    The decay begins at step `begin` with share 1 and is over after `length` steps. Up to `begin` the share does not
    depend on `begin`, so the decay may be started at any step. Runs that end at different steps have the same last
    phase. Source: Hägele et al. 2024 (https://arxiv.org/abs/2405.18392), who find a constant rate with a
    decay at the end as good as a cosine; the linear decay is that of Zhai et al. 2022
    (https://arxiv.org/abs/2106.04560).
    """
    rising = min(1.0, (step + 1) / warmup) if warmup else 1.0
    return rising * min(1.0, max(0.0, 1 - (step - begin) / length))
