"""Copy, reverse, sort and sum: the primitive tasks of Kazemnejad et al. 2023 (https://arxiv.org/abs/2305.19466)."""

from abc import abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor

from posenc import checks
from posenc.tasks.base import Task
from posenc.tasks.parts.counts import expected_largest_count, mean_largest_share
from posenc.tasks.parts.transduction import TransductionTask


@dataclass(kw_only=True, eq=False, repr=False)
class Rearrangement(TransductionTask):
    """The input is uniform over `alphabet` symbols. The output has every input symbol equally often."""

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
        """Exact. With slots the best model names the most frequent symbol in all of them: E[max_s count_s] / n.

        Under teacher forcing it also knows the symbols so far, and names the most frequent of the m symbols that are
        left, which are uniform too: the mean of E[max_s count_s(m)] / m over m = 1, ..., n.
        """
        if self.causal:
            return mean_largest_share(length, self.alphabet)
        return expected_largest_count(length, self.alphabet) / length


@dataclass(kw_only=True, eq=False, repr=False)
class CopyDataset(Rearrangement):
    """Write the input, `copies` times over.

        3 1 1 7  →  3 1 1 7                    copies: 1
        3 1 1 7  →  3 1 1 7 3 1 1 7            copies: 2

    Law: symbols are uniform and independent, so they repeat. With an alphabet of two (`copy_repeats`) the last symbols
    occur at many positions, and only the position says which symbol comes next. Random guess: 1/alphabet.

    Source: Kazemnejad et al. 2023 (https://arxiv.org/abs/2305.19466), copy_multi_char (100 symbols) and
    copy_multi_char_2x (two copies, [NEXT] between them) of their code; the other three variants have one symbol and ask
    only how often it occurs. Zhou et al. 2023 (https://arxiv.org/abs/2310.16028) distinguish copies with and without
    repeated symbols. Deviations: 20 symbols, no mark between copies, and the length of the answer is given.
    """

    published = (
        "trained up to length 20 and tested up to 40, causal models with T5's bias or without any encoding "
        "generalise best, ALiBi less, RoPE and sinusoidal encodings poorly (Kazemnejad et al. 2023)."
    )

    copies: int = 1
    causal: bool = True

    def __post_init__(self) -> None:
        checks.positive(self, copies=self.copies)
        super().__post_init__()

    def output_length(self, length: int) -> int:
        return self.copies * length

    def rearranged(self, x: Tensor) -> Tensor:
        return x.repeat(1, self.copies)

    def order_blind_ceiling(self, length: int) -> float:
        """Exact. Under teacher forcing the model sees the last token. Before a new copy it is the input's last symbol,
        so the next one is among the other n − 1 symbols. All other places are as with one copy.
        """
        once = super().order_blind_ceiling(length)
        if not self.causal or self.copies == 1:
            return once
        of_all, of_rest = (expected_largest_count(m, self.num_outputs) / m for m in (length, length - 1))
        return once + (self.copies - 1) / self.copies * (of_rest - of_all) / length


@dataclass(kw_only=True, eq=False, repr=False)
class ReverseDataset(Rearrangement):
    """Write the input backwards.

        3 1 1 7  →  7 1 1 3

    Law: symbols are uniform and independent. Random guess: 1/alphabet. Source: Kazemnejad et al. 2023
    (https://arxiv.org/abs/2305.19466), with 100 symbols there. The length of the answer is given.
    """

    published = (
        "as for `copy`: T5's bias and no encoding generalise best, RoPE and sinusoidal encodings poorly "
        "(Kazemnejad et al. 2023)."
    )

    causal: bool = True

    def rearranged(self, x: Tensor) -> Tensor:
        return x.flip(1)


@dataclass(kw_only=True, eq=False, repr=False)
class SortDataset(Rearrangement):
    """Write the input in increasing order.

        3 1 7 1  →  1 1 3 7

    Law: symbols are uniform and independent. Random guess: 1/alphabet. Source: Kazemnejad et al. 2023
    (https://arxiv.org/abs/2305.19466), with 50 symbols there ("single digit"). The length of the answer is given.

    The output is a function of the bag. With slots (causal: false) a model still needs order to know which slot it
    fills, because all slots have the same token. Under teacher forcing the next symbol is the smallest that is left.
    Counts determine it, so both ceilings are 1 and skill is undefined.
    """

    published = (
        "over the source's ten tasks, which include this one, models without encoding rank first beyond the trained "
        "lengths, before T5's bias and ALiBi; RoPE and sinusoidal encodings rank last."
    )

    causal: bool = True

    def rearranged(self, x: Tensor) -> Tensor:
        return x.sort(1).values

    def order_blind_ceiling(self, length: int) -> float:
        """Exact. With slots, E[max_s count_s] / n; under teacher forcing 1: the smallest symbol left is next."""
        return 1.0 if self.causal else super().order_blind_ceiling(length)


@dataclass(kw_only=True, eq=False, repr=False)
class SumModDataset(Task):
    """The sum of the digits, modulo `modulus`.

        3 9 1 8  → 1        (21 mod 10)

    Law: digits are uniform over 1, ..., modulus − 1, as in the source's code. In long sequences the class becomes
    uniform: P(class 0) = 1/q + (1 − 1/q)·(−1/(q − 1))ⁿ for modulus q. Random guess: 1/q. Source: Kazemnejad et al. 2023
    (https://arxiv.org/abs/2305.19466), without a scratchpad. Their answer is a symbol after the input; here it is a
    class at a query token. Token 0 does not occur.

    The bag determines the answer, so both ceilings are 1 and skill is undefined: the task is a control, like parity.
    """

    published = "beyond the trained lengths accuracy falls with every encoding (Kazemnejad et al. 2023)."

    vocab_size: int = field(init=False)
    modulus: int = 10
    causal: bool = True
    readout: str = "query"

    determined_by = "bag"  # a sum does not depend on order

    def __post_init__(self) -> None:
        checks.positive(self, minimum=3, modulus=self.modulus)
        self.num_outputs = self.vocab_size = self.modulus
        super().__post_init__()

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        tokens = torch.randint(1, self.num_outputs, (batch, length), generator=generator)
        return tokens, tokens.sum(1) % self.num_outputs
