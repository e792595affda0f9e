"""The regular languages of Delétang et al. 2023. A finite automaton can solve each of them."""

from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.stats import binom
from torch import Generator, Tensor

from posenc import checks
from posenc.checks import ConfigError
from posenc.streams import generator as stream
from posenc.tasks.base import Task
from posenc.tasks.parts.counts import expected_largest_count
from posenc.tasks.parts.published import FAILS_BEYOND_40


@dataclass(kw_only=True, eq=False, repr=False)
class EvenPairs(Task):
    """Class 0: "01" and "10" together occur an even number of times, so the first and the last token are equal.

        0 0 1 1 1 0      → 0   one "01" and one "10"
        0 1 0 1 0 0 1    → 1   three "01" and two "10"

    Law: uniform bits. Both classes have probability ½. Source: Delétang et al. 2023 (https://arxiv.org/abs/2207.02098).
    Random guess: ½.
    """

    published = (
        "with the best of five encodings a transformer trained up to length 40 solves lengths 41 to 500, because only "
        "the first and the last token matter (Delétang et al. 2023)."
    )

    vocab_size: int = field(default=2, init=False)

    num_outputs = 2
    min_length = 2
    determined_by = "sequence"

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        tokens = torch.randint(2, (batch, length), generator=generator)
        return tokens, tokens[:, 0] ^ tokens[:, -1]

    def order_blind_ceiling(self, length: int) -> float:
        """Exact: of all orders of k ones and n − k zeros, the share 2k(n − k) / (n(n − 1)) has unequal ends.

        If the model sees the last token, the best guess of the first is the most frequent of the other n − 1 bits.
        """
        if self.readout == "last":
            return expected_largest_count(length - 1, 2) / (length - 1)
        n, k = length, np.arange(length + 1)
        unequal = 2 * k * (n - k) / (n * (n - 1))
        return float(binom.pmf(k, n, 0.5) @ np.maximum(unequal, 1 - unequal))


@dataclass(kw_only=True, eq=False, repr=False)
class Parity(Task):
    """Is the number of ones odd?

        1 0 1 0 1 0 0    → 1
        0 1 1 1 1        → 0

    Law: uniform bits. Both classes have probability ½. The bag determines the answer, so skill is undefined: the task
    tests whether a model can count, not whether it knows the order. Source: "parity check" of Delétang et al. 2023
    (https://arxiv.org/abs/2207.02098). Random guess: ½.
    """

    published = f"{FAILS_BEYOND_40}; a special scratchpad helps (Zhou et al. 2023, https://arxiv.org/abs/2310.16028)."

    vocab_size: int = field(default=2, init=False)

    num_outputs = 2
    determined_by = "bag"  # only the number of ones matters

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        tokens = torch.randint(2, (batch, length), generator=generator)
        return tokens, tokens.sum(1) % 2


@dataclass(kw_only=True, eq=False, repr=False)
class CycleNavigation(Task):
    """Where on a circle does a walk from position 0 end? Tokens: 0 is a step left, 1 is no step, 2 is a step right.

        move     +1 −1  0 −1 −1
        token     2  0  1  0  0    → 3, that is −2 on a circle of 5

    Law: uniform moves; in long sequences the classes become uniform. The bag determines the answer, so skill is
    undefined. Source: Delétang et al. 2023 (https://arxiv.org/abs/2207.02098). Random guess: 1/5 (1/cycle_length).
    """

    published = (
        "with the best of five encodings a transformer trained up to length 40 has an accuracy of 61.9 % at lengths 41 "
        "to 500, because uniform attention gives shares of tokens and not counts (Delétang et al. 2023)."
    )

    vocab_size: int = field(default=3, init=False)
    cycle_length: int = 5

    determined_by = "bag"  # steps commute

    def __post_init__(self) -> None:
        checks.positive(self, minimum=2, cycle_length=self.cycle_length)
        self.num_outputs = self.cycle_length
        super().__post_init__()

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        tokens = torch.randint(3, (batch, length), generator=generator)
        return tokens, (tokens.sum(1) - length) % self.num_outputs


OPERATORS = "+-*"


@dataclass(kw_only=True, eq=False, repr=False)
class ModularArithmetic(Task):
    """The value of an expression without brackets, modulo 5. * comes before + and −; otherwise left before right.

        1 + 2 * 3 = 7 → 2        1 − 1 − 1 = −1 → 4        0 * 1 + 4 * 3 − 2 = 10 → 0

    Tokens: the digits, then + − *. An expression has odd length, so at an even `length` it is one token shorter, as in
    the source. Law: uniform digits and `operators`. The value is uniform only in the limit of long expressions; with *,
    0 is somewhat more frequent. The source has a fourth operator token that it never draws.
    Source: Delétang et al. 2023 (https://arxiv.org/abs/2207.02098). Random guess: 1/5 (1/modulus).
    """

    published = f"{FAILS_BEYOND_40}; all recurrent networks do."

    vocab_size: int = field(init=False)
    modulus: int = 5
    operators: str = OPERATORS

    determined_by = "sequence"

    def __post_init__(self) -> None:
        checks.positive(self, minimum=2, modulus=self.modulus)
        some = self.operators
        wrong = not isinstance(some, str) or not some or set(some) - set(OPERATORS)
        if wrong or len(set(some)) < len(some):
            raise ConfigError(f"{self}: dataset.operators must be some of {OPERATORS}, each once, got {some!r}.")
        self._drawn = np.array([OPERATORS.index(operator) for operator in some])
        self.num_outputs, self.vocab_size = self.modulus, self.modulus + 3
        super().__post_init__()

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        k = (length + 1) // 2
        digits = torch.randint(self.num_outputs, (batch, k), generator=generator).numpy()
        drawn = torch.randint(len(self._drawn), (batch, k - 1), generator=generator).numpy()
        operators = self.num_outputs + self._drawn[drawn]
        tokens = np.empty((batch, 2 * k - 1), dtype=np.int64)
        tokens[:, ::2], tokens[:, 1::2] = digits, operators
        return torch.from_numpy(tokens), torch.from_numpy(self._value(digits.T, operators.T))

    def _value(self, digits: np.ndarray, operators: np.ndarray) -> np.ndarray:
        """The value of `digits` (k, ...) and `operators` (k − 1, ...), as a sum of terms."""
        M = self.num_outputs
        terms = digits.copy()  # the term up to each digit
        sign = 1 - 2 * (operators == M + 1).astype(digits.dtype)
        begins = operators != M + 2
        for i in range(len(operators)):
            terms[i + 1] = np.where(begins[i], sign[i], terms[i]) * digits[i + 1] % M
        return ((terms[:-1] * begins).sum(0) + terms[-1]) % M

    def order_blind_ceiling(self, length: int) -> float:
        """Measured: for drawn bags, the frequencies of values over 512 shuffles of digits and of operators.

        The most frequent value in one half of the shuffles is scored on the other half, both ways, so that the result
        is not biased upwards; it is at most about 0.01 too low. If the model sees the last token, no shuffle moves it.
        """
        random = stream(0, f"{self}/blind/{self.num_outputs}/{self._drawn.tolist()}/{length}")
        k, shuffles = (length + 1) // 2, 512
        bags = max(32, 4096 // k)
        tokens, _ = self.sample(random, bags, length)
        parts = []
        for part, last in ((tokens[:, ::2], self.readout == "last"), (tokens[:, 1::2], False)):
            draws = torch.rand((part.shape[1], shuffles), generator=random)
            draws[part.shape[1] - last :] = 1  # the largest number, so it stays last
            order = draws.argsort(0).numpy()
            parts.append(part.T.numpy().astype(np.int32)[order])  # (place, shuffle, bag)
        values = self._value(parts[0], parts[1])
        halves = (values[: shuffles // 2], values[shuffles // 2 :])
        shares = [np.stack([(half == v).mean(0) for v in range(self.num_outputs)]) for half in halves]
        hits = [np.take_along_axis(a, b.argmax(0)[None], 0).mean() for a, b in (shares, shares[::-1])]
        return float(max(1 / self.num_outputs, np.mean(hits)))
