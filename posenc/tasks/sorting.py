"""Is the sequence sorted?"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from posenc import checks
from posenc.tasks.base import Task


@dataclass(kw_only=True, eq=False, repr=False)
class SortingDataset(Task):
    """Class 1: the tokens never fall from left to right. Class 0: two neighbours of such a sequence are exchanged.

        0 0 2 5 5 9    → 1 (sorted)
        0 2 0 5 5 9    → 0 (one descent, between places 1 and 2)

    Law: tokens are uniform and independent, given that at least two values differ, and then sorted. For class 0
    (probability ½) two different neighbours are chosen uniformly and exchanged. So both classes have the same bags, and
    only a comparison of neighbours distinguishes them. Random guess: ½.
    The note from which posenc started compared sorted with shuffled sequences, which differ by a linear trend; it could
    also exchange two equal neighbours.
    """

    published = "nothing that we know of; posenc's own."

    vocab_size: int = 20

    num_outputs = 2
    min_length = 2
    determined_by = "sequence"  # an exchanged pair is a descent; a sorted sequence has no descent

    def __post_init__(self) -> None:
        checks.at_least(self, 2, "two different values are needed", vocab_size=self.vocab_size)
        super().__post_init__()

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        targets = torch.randint(2, (batch,), generator=generator)
        tokens = self._bags(generator, batch, length)
        while (rejected := tokens[:, 0] == tokens[:, -1]).any():
            tokens[rejected] = self._bags(generator, int(rejected.sum()), length)
        ascends = tokens[:, 1:] > tokens[:, :-1]
        _, ascents = np.nonzero(ascends)  # places of ascents, row after row
        counts = np.count_nonzero(ascends, axis=1)
        uniform = torch.rand(batch, generator=generator, dtype=torch.float64).numpy()
        left = ascents[counts.cumsum() - 1 - (uniform * counts).astype(np.int64)]
        rows, right = np.arange(batch), left + 1 - targets.numpy()  # in class 1 a token is exchanged with itself
        tokens[rows, left], tokens[rows, right] = tokens[rows, right], tokens[rows, left]
        return torch.from_numpy(tokens), targets

    def _bags(self, generator: Generator, batch: int, length: int) -> np.ndarray:
        """Sorted rows of uniform tokens."""
        tokens = torch.randint(self.vocab_size, (batch, length), generator=generator).numpy()
        tokens.sort(axis=1)
        return tokens

    def order_blind_ceiling(self, length: int) -> float:
        """Exactly ½: both classes have the same law of bags, so a bag says nothing about the class.

        If the model sees the last token: ½ + ½ P(the last token is not the largest | class 0). This happens if the
        largest value occurs once and the exchange is at the last ascent. There are as many ascents as smaller values.
        """
        return 1 / self.num_outputs + (self._last_exchanged(length) / 2 if self.readout == "last" else 0.0)

    def _last_exchanged(self, n: int) -> float:
        """E[1{the largest value occurs once} / (different values − 1)] for n uniform tokens that are not all equal.

        Σ_v n V⁻ⁿ vⁿ⁻¹ E[1 / different values of n − 1 tokens below v] / (1 − V¹⁻ⁿ).
        """
        V = self.vocab_size
        below = np.arange(1, V)[:, None]  # v: the largest value, which is also the number of smaller values
        different = np.arange(1, V)[None, :]
        law = np.zeros((V - 1, V - 1))  # [v, d]: P(d different values)
        law[:, 0] = 1
        for _ in range(n - 2):
            new = law * (below - different).clip(min=0) / below
            law = law * (different / below).clip(max=1)
            law[:, 1:] += new[:, :-1]
        weight = n / V * np.exp((n - 1) * np.log(below[:, 0] / V))
        return float(weight @ (law / different).sum(1) / (1 - float(V) ** (1 - n)))
