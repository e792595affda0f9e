"""Two arms on the same seeds: the mean difference and exact tests."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from posenc.checks import ConfigError
from posenc.statistics.intervals import Interval, mean_interval
from posenc.statistics.samples import SEEDS_FOR_INTERVAL, check_level, same_seeds, sample

EXACT_SEEDS = 16
"""The largest number n of seeds at which all 2ⁿ sign vectors are tried. With more, RANDOM_SIGNS random ones are."""
RANDOM_SIGNS = 2**17 - 1


@dataclass(frozen=True)
class Difference(Interval):
    """The mean of a − b over the common seeds, with the exact p of no difference.

    correlation   Pearson's correlation of the arms over seeds; None if undefined or below three seeds. Pairing by seed
                  helps if it is large: Var(a − b) = σa² + σb² − 2·correlation·σa·σb
    seeds         the seeds that both arms have, in order
    """

    p: float
    correlation: float | None
    seeds: tuple[int, ...]


def paired_difference(a: Mapping[int, float], b: Mapping[int, float], level: float = 0.95) -> Difference:
    """a − b over the seeds that both have: `mean_interval` of the differences and their `sign_flip_test`."""
    left, right, seeds = _paired(a, b, level)
    mean = mean_interval(left - right, level)
    p = sign_flip_test(left - right)
    return Difference(mean.estimate, mean.low, mean.high, mean.n, p, _correlation(left, right), seeds)


def paired_interval(a: Mapping[int, float], b: Mapping[int, float], level: float = 0.95) -> Interval:
    """The interval of `paired_difference` alone. It needs a small part of the time, because no signs are flipped."""
    left, right, _ = _paired(a, b, level)
    return mean_interval(left - right, level)


def _paired(
    a: Mapping[int, float], b: Mapping[int, float], level: float
) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    check_level("paired_difference", level)
    seeds = tuple(sorted(set(a) & set(b)))
    if not seeds:
        raise ConfigError(
            f"paired_difference: no common seeds, a has {sorted(a)} and b has {sorted(b)}; run both on the same seeds."
        )
    left = sample("paired_difference", "a", [a[seed] for seed in seeds])
    right = sample("paired_difference", "b", [b[seed] for seed in seeds])
    return left, right, seeds


def _correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    if a.size < SEEDS_FOR_INTERVAL or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    left, right = a - a.mean(), b - b.mean()
    scale = float(np.linalg.norm(left) * np.linalg.norm(right))
    return float(np.clip(left @ right / scale, -1, 1)) if scale > 0 else None


def sign_flip_test(differences: ArrayLike) -> float:
    """Exact two-sided p of paired differences. Without an effect, both signs of a difference are equally likely.

        p = share of the 2ⁿ sign vectors s with |Σ s·d| ≥ |Σ d|

    p is at least 2/2ⁿ: .0625 with five seeds, .002 with ten. Fisher 1935, The Design of Experiments, § 21; Ernst 2004,
    https://doi.org/10.1214/088342304000000396. Above 16 differences random sign vectors from a fixed seed are used, and
    the observed signs count as one of them (Phipson & Smyth 2010, https://doi.org/10.2202/1544-6115.1585).
    """
    array = sample("sign_flip_test", "differences", differences)
    # sums that are mathematically equal differ in their last digits
    observed = abs(array.sum()) - 1e-12 * np.abs(array).sum()
    if array.size <= EXACT_SEEDS:
        sums = array[:1]  # −s gives the same |Σ| as s, so the first sign is fixed
        for value in array[1:]:
            sums = np.concatenate([sums + value, sums - value])
        return float(np.mean(np.abs(sums) >= observed))
    rng = np.random.default_rng(0)
    sums = np.zeros(RANDOM_SIGNS)
    for value in array:
        sums += value * rng.choice((-1, 1), RANDOM_SIGNS)
    return float((1 + np.sum(np.abs(sums) >= observed)) / (1 + RANDOM_SIGNS))


def mcnemar(a_success: ArrayLike, b_success: ArrayLike) -> float:
    """Exact two-sided p for the hypothesis that two arms succeed equally often, on the same seeds.

    Only the m seeds on which exactly one arm succeeded matter. If the arms are equal, the number of them on which arm a
    succeeded is binomial(m, ½). McNemar 1947, https://doi.org/10.1007/BF02295996.
    """
    a, b = sample("mcnemar", "a_success", a_success), sample("mcnemar", "b_success", b_success)
    same_seeds("mcnemar", a, b)
    for value in (*a, *b):
        if value not in (0, 1):
            raise ConfigError(f"mcnemar: a success must be true or false, got {value}; compare with a threshold first.")
    only_a, only_b = int((a > b).sum()), int((b > a).sum())
    return min(1.0, 2 * float(special.bdtr(min(only_a, only_b), only_a + only_b, 0.5)))
