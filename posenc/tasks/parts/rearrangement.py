"""Outputs that are made of the input's symbols, in an order of their own."""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from posenc import checks
from posenc.tasks.parts.counts import expected_largest_count, mean_largest_share
from posenc.tasks.parts.transduction import TransductionTask


@dataclass(kw_only=True, eq=False, repr=False)
class Rearrangement(TransductionTask):
    """The input is uniform over `alphabet` symbols; the output has each of them equally often."""

    alphabet: int = 20

    min_length = 2

    def __post_init__(self) -> None:
        checks.positive(self, minimum=2, alphabet=self.alphabet)
        self.num_outputs = self.alphabet
        super().__post_init__()

    @abstractmethod
    def rearranged(self, x: Tensor) -> Tensor:
        """(B, n) → (B, m)."""

    def pairs(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        x = torch.randint(self.alphabet, (batch, length), generator=generator)
        return x, self.rearranged(x)

    def order_blind_ceiling(self, length: int) -> float:
        """Exact. With slots, the most frequent symbol in all of them: E[max_s count_s] / n.

        Under teacher forcing the symbols before a slot are known too, so such a model sees a second bag and names the
        most frequent of the m symbols that are left, a uniform bag as well: the mean over m = 1, ..., n of
        E[max_s count_s(m)] / m, of which the last is 1.
        """
        if self.causal:
            return mean_largest_share(length, self.alphabet)
        return expected_largest_count(length, self.alphabet) / length
