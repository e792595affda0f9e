"""Counter languages and counting, with an answer at every token from left to right."""

from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor

from posenc import checks
from posenc.checks import ConfigError
from posenc.tasks.base import IGNORE
from posenc.tasks.parts.left_to_right import LeftToRight


class _PrefixTask(LeftToRight):
    """The answer at each token depends only on how often each token has occurred so far."""

    determined_by = "bag"  # the bag of the tokens so far, so skill is undefined


@dataclass(kw_only=True, eq=False, repr=False)
class ShuffleDyckDataset(_PrefixTask):
    """Which symbols may come next in a shuffle of `num_pairs` bracket languages?

        num_pairs: 1     tokens   ( ( ) ) ( )        num_pairs: 2     tokens   ( [ ) ( ] )
                         answer   1 1 1 0 1 0                         answer   1 3 2 3 1 0

    Opening is always legal, so only the pairs that may be closed matter: the class is Σ 2^i over the open pairs i, one
    of 2^num_pairs; tokens 2i and 2i + 1 open and close pair i. dyck_1 is Dyck-1, shuffle_2 is Shuffle-2: each pair is
    balanced independently of the others.

    Law: at each token a pair is chosen uniformly; if it is open, it opens again or closes with probability ½ each,
    otherwise it opens. Its depth is the absolute value of a symmetric random walk. Random guess: 2^−num_pairs, but the
    classes are not balanced: the probability of depth 0 falls as 1/√length.
    Source: Bhattamishra et al. 2020 (https://arxiv.org/abs/2009.11264), who count a sequence as right if all its
    answers are (exact_match). Deviations: sequences are beginnings of words, and no grammar draws them.

    The counts of the symbols so far determine the answer, so both ceilings are 1, skill is undefined, and a causal mask
    is enough. The source claims that positional encodings hurt above the trained lengths.
    """

    published = (
        "transformers learn these languages and generalise to longer words, best with a causal mask and no encoding "
        "(Bhattamishra et al. 2020)."
    )

    vocab_size: int = field(init=False)
    num_pairs: int = 1

    def __post_init__(self) -> None:
        checks.positive(self, num_pairs=self.num_pairs)
        if self.num_pairs > 8:
            raise ConfigError(
                f"{self}: there are 2^num_pairs classes, so dataset.num_pairs must be at most 8, got {self.num_pairs}."
            )
        self.num_outputs, self.vocab_size = 2**self.num_pairs, 2 * self.num_pairs
        super().__post_init__()

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        draw = torch.randint(self.vocab_size, (batch, length), generator=generator)
        pair, up = draw // 2, draw % 2 * 2 - 1
        tokens, targets = 2 * pair, torch.zeros_like(draw)
        for i in range(self.num_pairs):
            step = up * (pair == i)
            walk = step.cumsum(1)
            tokens += walk.abs() < (walk - step).abs()
            targets += (walk != 0) * 2**i
        return tokens, targets


@dataclass(kw_only=True, eq=False, repr=False)
class InductiveCountingDataset(_PrefixTask):
    """Count on from a number.

        tokens   7 a a a a a        max_count: 100
        answer   – 8 9 10 11 12

    Numbers are the tokens and classes 0, ..., max_count; a is the token max_count + 1. Law: one number, then
    length − 1 a's; the number is uniform among those from which the last count is at most max_count. So short sequences
    show every number, and long ones have more steps. Random guess: 1/(max_count + 1).
    Source: Chang & Bisk 2025 (https://arxiv.org/abs/2405.20131), counting with a shifted start, so that numbers above
    the trained length are not new tokens. With max_count 100, length 51 has the law of their training data (50 steps
    from 0, ..., 50), and length 101 is their longest test.

    The bag so far (which number, how many a's) determines the answer: both ceilings are 1, skill is undefined.
    """

    published = (
        "recurrent networks count beyond the trained lengths; transformers need an encoding for this, and the best "
        "one depends on the form of the task (Chang & Bisk 2025)."
    )

    vocab_size: int = field(init=False)
    max_count: int = 100

    min_length = 2

    def __post_init__(self) -> None:
        checks.positive(self, max_count=self.max_count)
        self.num_outputs = self.max_length = self.max_count + 1
        self.vocab_size = self.max_count + 2
        super().__post_init__()
        longest = self.longest
        why = f"a sequence of {longest} tokens counts {longest - 1} steps"
        checks.at_least(self, longest - 1, why, max_count=self.max_count)

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        start = torch.randint(self.max_count - length + 2, (batch, 1), generator=generator)
        tokens = torch.full((batch, length), self.max_count + 1)
        tokens[:, :1] = start
        targets = start + torch.arange(length)
        targets[:, 0] = IGNORE
        return tokens, targets
