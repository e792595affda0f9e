"""The expected number of occurrences of the most frequent symbol in a uniform sequence, for order-blind ceilings."""

import numpy as np
from scipy.stats import poisson


def _power(pmf: np.ndarray, exponent: int, largest: int) -> np.ndarray:
    """The law of the sum of `exponent` counts with law `pmf`, up to `largest`: a convolution power, by squaring."""
    law = np.array([1.0])
    for bit in bin(exponent)[2:]:
        law = np.convolve(law, law)[: largest + 1]
        if bit == "1":
            law = np.convolve(law, pmf)[: largest + 1]
    return law


def expected_largest_count(length: int, alphabet: int) -> float:
    """E[max_s count_s] of `length` independent uniform symbols, exactly.

    P(max ≤ t) = n!/Vⁿ [zⁿ] (Σ_{i≤t} zⁱ/i!)^V, from V Poisson counts of mean n/V, each at most t, with total n.
    """
    n, V = length, alphabet
    pmf = poisson.pmf(np.arange(n + 1), n / V)
    total = float(poisson.pmf(n, n))
    expectation = 0.0
    for t in range(n):  # E[max] = Σ_{t ≥ 0} P(max > t)
        below = _power(pmf[: t + 1], V, n)
        at_most = float(below[n]) / total if len(below) > n else 0.0
        if at_most > 1 - 1e-13:
            break
        expectation += 1 - at_most
    return expectation


def mean_largest_share(length: int, alphabet: int) -> float:
    """The mean of E[max_s count_s] / m, of m uniform symbols, over m = 1, ..., `length`.

    Computed as in `expected_largest_count`, with Poisson counts of one mean M/V for all m in (M/2, M].
    """
    total, top = 0.0, length
    while top:
        sizes = np.arange(top // 2 + 1, top + 1)
        pmf, norm = poisson.pmf(np.arange(top + 1), top / alphabet), poisson.pmf(sizes, top)
        for t in range(top):
            below = _power(pmf[: t + 1], alphabet, top)
            more = 1 - np.pad(below, (0, top + 1 - len(below)))[sizes] / norm
            if more.max() < 1e-13:
                break
            total += float((more / sizes).sum())
        top //= 2
    return total / length
