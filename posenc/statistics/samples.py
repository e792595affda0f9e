"""What a sample must be, and what its size is good for."""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from posenc.checks import ConfigError, positive

SEEDS_FOR_INTERVAL = 3
"""Below it no function of this package gives an interval: two values can lie close by luck."""

SEEDS_FOR_VERDICT = 10
"""Below it nothing is decided: at five seeds the exact two-sided sign-flip test cannot go below 2/2⁵ = .0625."""


SOLVED = 0.9
"""The skill from which on a run has solved its task."""


def label(n: int) -> str:
    """What to write beside a number from n seeds; nothing where they suffice for a verdict."""
    positive("label", minimum=0, n=n)
    if n >= SEEDS_FOR_VERDICT:
        return ""
    return f"not for verdicts ({n} seed{'s' * (n != 1)}{', no interval' * (n < SEEDS_FOR_INTERVAL)})"


def sample(owner: str, name: str, values: ArrayLike) -> Float[np.ndarray, " n"]:
    """The values as a float array: at least one, in one row, all of them finite."""
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise ConfigError(f"{owner}: {name} must be numbers, one a seed, got {values!r}.") from None
    if array.ndim != 1 or not array.size:
        raise ConfigError(
            f"{owner}: {name} must be one row of at least one number, got shape {array.shape}; give one value a seed."
        )
    if not np.isfinite(array).all():
        place = int(np.argmin(np.isfinite(array)))
        raise ConfigError(
            f"{owner}: {name} must be finite, got {array[place]} at place {place}; "
            "leave out runs without a result, and count those that failed by success_rate."
        )
    return array


def same_seeds(owner: str, a: np.ndarray, b: np.ndarray) -> None:
    """Paired arms must have one value each for every seed."""
    if a.shape != b.shape:
        raise ConfigError(
            f"{owner}: a has {a.size} values and b has {b.size}; give both arms in the order of their common seeds."
        )


def check_level(owner: str, level: float) -> None:
    """A level of confidence lies between 0 and 1."""
    if not 0 < level < 1:
        raise ConfigError(f"{owner}: level must lie between 0 and 1, got {level!r}; write 0.95 for 95 %.")
