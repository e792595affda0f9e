"""The context-sensitive tasks of Delétang et al. 2023. A machine with a tape can solve each of them."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Generator, Tensor

from posenc.streams import generator as stream
from posenc.tasks.base import IGNORE, Task
from posenc.tasks.copying import CopyDataset, Rearrangement, SortDataset
from posenc.tasks.parts import bits
from posenc.tasks.parts.published import FAILS_BEYOND_40
from posenc.tasks.parts.transduction import END, TransductionTask, terminate


@dataclass(kw_only=True, eq=False, repr=False)
class DuplicateString(CopyDataset):
    """The string, twice.

        tokens    1 0 1  _ _ _ _ _ _
        targets   – – –  1 0 1 1 0 1

    Law: uniform symbols. Source: Delétang et al. 2023 (https://arxiv.org/abs/2207.02098), with two symbols. Random
    guess: ½ (1/alphabet).
    """

    published = (
        f"{FAILS_BEYOND_40}; one that decodes symbol by symbol does, which the authors attribute to relative encodings."
    )

    alphabet: int = 2
    copies: int = field(default=2, init=False)
    causal: bool = False


@dataclass(kw_only=True, eq=False, repr=False)
class OddsFirst(Rearrangement):
    """The first, third, fifth, ... symbol, then the second, fourth, ...

        tokens    0 0 1 1 0 1 0 1  _ _ _ _ _ _ _ _
        targets   – – – – – – – –  0 1 0 0 0 1 1 1

    Law: uniform symbols. Source: Delétang et al. 2023 (https://arxiv.org/abs/2207.02098), with two symbols. The order
    is as in their text and examples; their code puts the second, fourth, ... symbol first. Random guess: ½
    (1/alphabet).
    """

    published = f"{FAILS_BEYOND_40}."

    alphabet: int = 2

    def rearranged(self, x: Tensor) -> Tensor:
        return torch.cat((x[:, ::2], x[:, 1::2]), dim=1)


@dataclass(kw_only=True, eq=False, repr=False)
class BucketSort(SortDataset):
    """The symbols in rising order.

        tokens    1 0 2 0 4 1 1 2  _ _ _ _ _ _ _ _
        targets   – – – – – – – –  0 0 1 1 1 2 2 4

    The bag determines the output, but a model must know the place of each slot. Law: uniform symbols. Source: Delétang
    et al. 2023 (https://arxiv.org/abs/2207.02098), with five symbols. Random guess: 1/5 (1/alphabet).
    """

    published = (
        "with the best of five encodings a transformer trained up to length 40 solves lengths 41 to 500; decoding "
        "symbol by symbol, under a causal mask, it does not (Delétang et al. 2023)."
    )

    alphabet: int = 5
    causal: bool = False


HOLE, PAD = 2, 3


@dataclass(kw_only=True, eq=False, repr=False)
class MissingDuplicate(Task):
    """A binary string is written twice, and one bit is replaced by 2: which bit? An odd length ends with a 3.

        0 1 1 0 0 2 1 0    → 1   (0110)
        1 0 1 1 2 1 3      → 0   (101)

    Law: uniform bits, and a uniform place of the 2. Both classes have probability ½. The other bits are in pairs, so an
    odd number of ones means that a one is missing. So the bag determines the answer by its parity, and skill is
    undefined; a model that finds the same bit in the other copy need not count. Source: "missing duplicate string" of
    Delétang et al. 2023 (https://arxiv.org/abs/2207.02098). Random guess: ½.
    """

    published = f"{FAILS_BEYOND_40}."

    vocab_size: int = field(default=4, init=False)

    determined_by = "bag"  # the parity of the number of ones is the answer
    num_outputs = 2
    min_length = 2

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        half = torch.randint(2, (batch, length // 2), generator=generator)
        hole = torch.randint(length // 2 * 2, (batch, 1), generator=generator)
        tokens = torch.full((batch, length), PAD)
        tokens[:, : length // 2 * 2] = half.repeat(1, 2)
        targets = tokens.gather(1, hole)[:, 0]
        return tokens.scatter_(1, hole, HOLE), targets


class _OfBits(TransductionTask):
    """Tasks on bits. Only the number of ones in the input's bag matters; the order-blind ceiling is measured."""

    def order_blind_ceiling(self, length: int) -> float | None:
        """Measured, with an error of about 0.004: for each number of ones, the most frequent answer in all slots.

        None under a causal mask, because slots see different bags.
        """
        if self.causal:
            return None
        count = max(512, min(16384, 2**19 // length))
        tokens, targets = self.sample(stream(0, f"{self}/blind/{length}"), count, length)
        ones = (tokens[:, :length] == 1).sum(1, keepdim=True).expand_as(targets)
        asked = targets != IGNORE
        answers = torch.zeros(length + 1, self.num_outputs, dtype=torch.int64)
        answers.index_put_((ones[asked], targets[asked]), torch.tensor(1), accumulate=True)
        return (answers.amax(1).sum() / answers.sum()).item()


class _BinaryOperation(_OfBits):
    """Two positive numbers, least significant bit first, with a 2 between them, and the result of an operation."""

    num_outputs = 3
    min_length = 3
    result: Callable[[Tensor, Tensor], Tensor]
    """(bits of the first number, bits of the second) → bits of the result."""

    def pairs(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        first = torch.randint(1, length - 1, (batch,), generator=generator)
        lengths = torch.stack((first, length - 1 - first))
        drawn = bits.draw_positive(generator, lengths, length - 2)
        # In each row the bits of both numbers fill all positions except that of the sign.
        x = np.full((batch, length), END)
        used = np.arange(length - 2) < lengths.T.numpy()[..., None]
        x[np.arange(length) != first.numpy()[:, None]] = drawn.numpy().swapaxes(0, 1)[used]
        number = self.result(*drawn)[:, : length - 1]  # all higher bits are zero
        return torch.from_numpy(x), terminate(number, bits.width(number), self.output_length(length))


class BinaryAddition(_BinaryOperation):
    """The sum of two binary numbers, least significant bit first; 2 is both + and END.

        4 + 22 = 26
        tokens    0 0 1 2 0 1 1 0 1  _ _ _ _ _ _ _ _ _ _
        targets   – – – – – – – – –  0 1 0 1 1 2 – – – –

    Law: the first number has 1 .. n − 2 bits, uniformly, and the second has the remaining bits. Each number is uniform
    from 1 to the largest number with this many bits. The output, without leading zeros, has n + 1 slots. Source:
    Delétang et al. 2023 (https://arxiv.org/abs/2207.02098). Random guess: 1/3.
    """

    published = f"{FAILS_BEYOND_40}. Results for decimal numbers: `reversed_addition`."

    result = staticmethod(bits.add)

    def output_length(self, length: int) -> int:
        return length + 1


class BinaryMultiplication(_BinaryOperation):
    """The product of two binary numbers, least significant bit first; 2 is both the sign and END.

        4 · 22 = 88
        tokens    0 0 1 2 0 1 1 0 1  _ _ _ _ _ _ _ _ _
        targets   – – – – – – – – –  0 0 0 1 1 0 1 2 –

    Law: the numbers as in `BinaryAddition`. The output, without leading zeros, has n slots. Source: Delétang et al.
    2023 (https://arxiv.org/abs/2207.02098). Random guess: 1/3.
    """

    published = f"{FAILS_BEYOND_40}; a recurrent network with a tape does not either."

    result = staticmethod(bits.multiply)


class ComputeSqrt(_OfBits):
    """⌊√x⌋ of a binary number, most significant bit first in both.

        ⌊√37⌋ = 6
        tokens    1 0 0 1 0 1  _ _ _
        targets   – – – – – –  1 1 0

    Law: x is uniform in 1 .. 2ⁿ − 1. The output has ⌈n/2⌉ bits, leading zeros included. Source: Delétang et al. 2023
    (https://arxiv.org/abs/2207.02098), whose example gives 101 for 37 by mistake. Random guess: ½.
    """

    published = f"{FAILS_BEYOND_40}; a recurrent network with a tape does not either."

    num_outputs = 2

    def output_length(self, length: int) -> int:
        return (length + 1) // 2

    def pairs(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        x = bits.draw_positive(generator, torch.full((batch,), length), length).flip(1).long()
        return x, bits.square_root(x)
