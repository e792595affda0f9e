"""Many paired comparisons as one family: corrected p-values, and a limit on the share of unseen outcomes."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from scipy import special

from posenc.checks import ConfigError
from posenc.statistics.samples import SEEDS_FOR_INTERVAL, check_level, sample

ENUMERATED = 13
"""The largest number of seeds at which all sign vectors are tried. With more, RANDOM_SIGNS random ones are tried."""
RANDOM_SIGNS = 2**13 - 1
COMPARISONS_AT_ONCE = 128
"""The number of comparisons whose permuted statistics are in memory at once."""


def correct(differences: Sequence[Mapping[int, float]]) -> list[float | None]:
    """p of each of many paired comparisons, corrected for all of them, by sign flips and the largest statistic.

        T_j = |Σ_s d_js| / √(Σ_s d_js²),    d_js the difference of comparison j on seed s
        p_j = share of the sign vectors z in which max over the comparisons with T ≤ T_j of T(z) reaches T_j

    made monotone from the largest T down (step-down). One z flips a seed in all comparisons at once. So the dependence
    between comparisons that share arms or seeds is kept. A comparison on fewer than three seeds has no p (None) and
    does not belong to the family.

    If every p below .05 is called a finding, the risk of any false finding is at most 5 %. This is exact if the
    difference vectors are jointly symmetric (two arms, any number of data sets, lengths and seeds), and otherwise a
    good approximation. The lowest p with n seeds is 2/2ⁿ for any number of comparisons; Holm's correction would
    multiply it. Westfall & Young 1993, Resampling-Based Multiple Testing, § 2.6; Romano & Wolf 2005,
    https://doi.org/10.1198/016214504000000539.
    """
    kept = [place for place, row in enumerate(differences) if len(row) >= SEEDS_FOR_INTERVAL]
    adjusted: list[float | None] = [None] * len(differences)
    if not kept:
        return adjusted
    seeds = {seed: column for column, seed in enumerate(sorted({s for place in kept for s in differences[place]}))}
    table = np.zeros((len(kept), len(seeds)))
    for row, place in zip(table, kept, strict=True):
        found = differences[place]
        row[[seeds[seed] for seed in found]] = sample("correct", "each row of differences", list(found.values()))
    norms = np.linalg.norm(table, axis=1, keepdims=True)
    table = np.divide(table, norms, out=np.zeros_like(table), where=norms > 0)
    observed = np.abs(table.sum(1))
    order = np.argsort(observed, kind="stable")
    shares = _shares(table[order], observed[order], _signs(len(seeds)))
    shares = np.maximum.accumulate(shares[::-1])[::-1]
    for rank, row in enumerate(order):
        adjusted[kept[row]] = float(shares[rank])
    return adjusted


def _signs(seeds: int) -> Float[np.ndarray, "flips seeds"]:
    if seeds <= ENUMERATED:  # −z gives the same T as z, so the first sign is fixed
        bits = np.arange(2 ** (seeds - 1))[:, None] >> np.arange(seeds)[None, :]
        return 1.0 - 2.0 * (bits & 1)
    drawn = np.random.default_rng(0).choice((-1.0, 1.0), (RANDOM_SIGNS, seeds))
    return np.concatenate([np.ones((1, seeds)), drawn])  # the observed signs are one of them


def _shares(
    table: Float[np.ndarray, "rows seeds"],
    observed: Float[np.ndarray, " rows"],
    signs: Float[np.ndarray, "flips seeds"],
) -> Float[np.ndarray, " rows"]:
    """For rows in rising order of T: how often the largest permuted T of this row and earlier rows reaches its T."""
    largest = np.zeros(len(signs))
    shares = np.empty(len(table))
    for start in range(0, len(table), COMPARISONS_AT_ONCE):
        part = slice(start, start + COMPARISONS_AT_ONCE)
        running = np.maximum(np.maximum.accumulate(np.abs(signs @ table[part].T), axis=1), largest[:, None])
        # sums that are mathematically equal differ in their last digits
        shares[part] = (running >= observed[part] - 1e-9).mean(0)
        largest = running[:, -1]
    return shares


def unseen_share(count: int, n: int, level: float = 0.95) -> float:
    """The upper limit of a share, if `count` of n draws belong to it: one-sided, exact.

    With this share, `count` or fewer draws have probability 1 − level. For count = 0 it is 1 − (1 − level)^(1/n): even
    if twelve seeds all succeed, 22 % may fail. Clopper & Pearson 1934, https://doi.org/10.1093/biomet/26.4.404.
    """
    check_level("unseen_share", level)
    if not 0 <= count <= n or n < 1:
        raise ConfigError(f"unseen_share: count must lie in 0 to n ≥ 1, got {count} of {n}.")
    return 1.0 if count == n else float(special.betaincinv(count + 1, n - count, level))
