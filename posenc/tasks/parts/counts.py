"""How often the most frequent symbol of a uniform sequence occurs: what a bag of tokens gives away."""

import numpy as np
from scipy.stats import poisson


def expected_largest_count(length: int, alphabet: int) -> float:
    """E[max_s count_s] of `length` independent uniform symbols, exactly.

    P(max ≤ t) = n!/Vⁿ [zⁿ] (Σ_{i≤t} zⁱ/i!)^V: V Poisson counts of mean n/V, cut at t, given that their total is n.
    """
    n, V = length, alphabet
    pmf = poisson.pmf(np.arange(n + 1), n / V)
    total = float(poisson.pmf(n, n))
    expectation = 0.0
    for t in range(n):  # E[max] = Σ_{t ≥ 0} P(max > t)
        below = np.array([1.0])
        for bit in bin(V)[2:]:  # the V-th convolution power, by squaring
            below = np.convolve(below, below)[: n + 1]
            if bit == "1":
                below = np.convolve(below, pmf[: t + 1])[: n + 1]
        at_most = float(below[n]) / total if len(below) > n else 0.0
        if at_most > 1 - 1e-13:
            break
        expectation += 1 - at_most
    return expectation
