"""Checks of samples, and how many seeds are enough for an interval or a verdict."""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from posenc.checks import ConfigError, positive
from posenc.terminal import count

SEEDS_FOR_INTERVAL = 3
"""With fewer seeds no function of this package gives an interval, because two values can be close by chance."""

SEEDS_FOR_VERDICT = 10
"""With fewer seeds nothing is decided: p of the exact sign-flip test with five seeds is at least 2/2⁵ = .0625."""


SOLVED = 0.9
"""A run with at least this skill has solved its task."""


def label(n: int) -> str:
    """The warning for a number from n seeds; empty if n seeds are enough for a verdict."""
    positive("label", minimum=0, n=n)
    if n >= SEEDS_FOR_VERDICT:
        return ""
    return f"not for verdicts ({count(n, 'seed')}{', no interval' * (n < SEEDS_FOR_INTERVAL)})"


def sample(owner: str, name: str, values: ArrayLike) -> Float[np.ndarray, " n"]:
    """The values as a float array. Raises ConfigError unless they are one row of finite numbers."""
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise ConfigError(f"{owner}: {name} must be numbers, one for each seed, got {values!r}.") from None
    if array.ndim != 1 or not array.size:
        raise ConfigError(
            f"{owner}: {name} must be one row of one or more numbers, got shape {array.shape}; give one for each seed."
        )
    if not np.isfinite(array).all():
        place = int(np.argmin(np.isfinite(array)))
        raise ConfigError(
            f"{owner}: {name} must be finite, got {array[place]} at place {place}; "
            "leave out runs without a result, and count those that failed by success_rate."
        )
    return array


def same_seeds(owner: str, a: np.ndarray, b: np.ndarray) -> None:
    """Raise ConfigError if paired arms have different numbers of values."""
    if a.shape != b.shape:
        raise ConfigError(
            f"{owner}: a has {a.size} values and b has {b.size}; give both arms in the order of their common seeds."
        )


def check_level(owner: str, level: float) -> None:
    """Raise ConfigError unless the level of confidence is between 0 and 1."""
    if not 0 < level < 1:
        raise ConfigError(f"{owner}: level must lie between 0 and 1, got {level!r}; write 0.95 for 95 %.")
