"""Which of three pairs of values is at its positions?"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from scipy.stats import poisson
from torch import Generator, Tensor

from posenc import checks
from posenc.tasks.base import Task

PATTERNS = (((3, 5), (7, 8)), ((5, 3), (10, 9)), ((15, 7), (20, 4)))
"""For each class, two cells (position, value)."""


@dataclass(kw_only=True, eq=False, repr=False)
class PositionAwarePatternDataset(Task):
    """The class is the pattern that the sequence matches, two values at two fixed positions.

        class 0: 5 at 3,  8 at 7      position  0  1  2  3  4  5  6  7  8  9 10 ...
        class 1: 3 at 5,  9 at 10     token    11  0  8  5 17  2 19  8  3  5  5 ...   → class 0
        class 2: 7 at 15, 4 at 20

    Law: the class is uniform. The tokens are uniform and independent, given that the sequence matches this class and no
    other: a background that matches another class is drawn again. Source: the note from which posenc started. Random
    guess: 1/3.

    The bag of tokens helps, because the values of the class occur at least once. Attention is not needed: an MLP on
    token and position with mean pooling solves the task, which favours encodings that enter at the embedding.
    """

    published = "nothing that we know of; posenc's own."

    vocab_size: int = 20

    num_outputs = len(PATTERNS)
    min_length = 1 + max(position for pattern in PATTERNS for position, _ in pattern)
    determined_by = "sequence"  # every sequence matches exactly one class

    def __post_init__(self) -> None:
        largest = max(value for pattern in PATTERNS for _, value in pattern)
        checks.at_least(self, largest + 1, f"the patterns use values up to {largest}", vocab_size=self.vocab_size)
        super().__post_init__()
        cells = torch.tensor(PATTERNS)  # (class, cell, position and value)
        self._places, self._values = cells[..., 0], cells[..., 1]

    def matches(self, tokens: Tensor) -> Tensor:
        """(B, 3): whether the sequence has the two values of each class at their positions."""
        return (tokens[:, self._places] == self._values).all(-1)

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        targets = torch.randint(self.num_outputs, (batch,), generator=generator)
        tokens = torch.randint(self.vocab_size, (batch, length), generator=generator)
        another = torch.arange(self.num_outputs) != targets[:, None]
        while (rejected := (self.matches(tokens) & another).any(1)).any():
            tokens[rejected] = torch.randint(self.vocab_size, (int(rejected.sum()), length), generator=generator)
        return tokens.scatter(1, self._places[targets], self._values[targets]), targets

    def order_blind_ceiling(self, length: int) -> float | None:
        """Exact, by the counts of the six pattern values.

        Let p_c = (count of c's first value)·(count of its second), n_j = n(n−1)...(n−j+1). Of all orders of a bag, the
        share p_c/n_2 matches class c, p_c·p_c'/n_4 both c and c', p_0·p_1·p_2/n_6 all three. So
            P(bag | c) = P_uniform(bag) / Z · [p_c/n_2 − p_c·(sum of the others)/n_4 + p_0·p_1·p_2/n_6],
            Z = V⁻² (1 − V⁻²)².
        The largest of the three belongs to the largest p_c, and the ceiling is ⅓ Σ_bag max_c P(bag | c). Expectations
        over uniform bags come from generating functions: pairs of counts (a, b) with a·b ≤ t have the polynomial
        F_t(z) = Σ z^(a+b) / (a! b!), and P(all p_c ≤ t) = n!/Vⁿ [zⁿ] F_t(z)³ e^((V−6) z).

        If the model sees the last token, the ceiling is that of the other n − 1, because the last token is uniform in
        every class. None at the smallest length, where a pattern includes the last position.
        """
        if self.readout == "last" and length == self.min_length:
            return None
        return _ceiling(length - (self.readout == "last"), self.vocab_size)


@cache
def _ceiling(n: int, V: int) -> float:
    """The order-blind ceiling for n tokens. Cached, because it takes long."""
    # Poisson counts of mean n/V, given that their total is n, are multinomial, and neither overflow nor underflow.
    # Counts of probability below 1e-20 are left out, because their sum is below rounding.
    mean = n / V
    pmf = poisson.pmf(np.arange(n + 1), mean)
    pmf = pmf[: np.flatnonzero(pmf > 1e-20)[-1] + 1]
    a, b = (index.ravel() for index in np.indices((len(pmf), len(pmf))))
    levels, level = np.unique(a * b, return_inverse=True)
    by_level = np.zeros((len(levels), 2 * len(pmf) - 1))  # [p, a + b]: joint probability of product and total
    np.add.at(by_level, (level, a + b), pmf[a] * pmf[b])

    rest, total = poisson.pmf(n - np.arange(n + 1), (V - 6) * mean), poisson.pmf(n, n)

    def expectation(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> float:
        joint = np.convolve(np.convolve(x, y), z)[: n + 1]
        return float(joint @ rest[: len(joint)] / total)

    below = by_level.cumsum(0)
    below_p = (levels[:, None] * by_level).cumsum(0)
    cdf = np.array([expectation(f, f, f) for f in below])
    triple = np.array([expectation(f, f, f) for f in below_p])  # E[p_0 p_1 p_2; all ≤ t]
    largest = float(levels @ np.diff(cdf, prepend=0.0))
    others = float((np.diff(triple) / levels[1:]).sum())  # E[p_0 p_1 p_2 / max]
    pairs = 3 * expectation(below_p[-1], below_p[-1], below[-1])
    falling = {j: math.perm(n, j) for j in (2, 4, 6)}
    matched = largest / falling[2] - (pairs - others) / falling[4] + triple[-1] / falling[6]
    return float(matched / (3 * V**-2 * (1 - V**-2) ** 2))
