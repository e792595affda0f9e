"""Recall of earlier tokens: by key, by the token before, by a marker, or in order."""

from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.special import gammaln
from torch import Generator, Tensor

from posenc import checks
from posenc.tasks.base import IGNORE, Task
from posenc.tasks.parts.counts import expected_largest_count
from posenc.tasks.parts.transduction import TransductionTask


def largest(x: np.ndarray, count: int) -> np.ndarray:
    """(B, count): indices of the largest numbers of each row, the largest first. Faster than topk on short rows."""
    return x.argsort(axis=1)[:, : -count - 1 : -1]


def at_the_end(source: Tensor, tokens: Tensor) -> Tensor:
    """(B, N): the `sources` of a task in which only the last token has a question, with its answer at key `source`."""
    sources = torch.full_like(tokens, -1)
    sources[:, -1] = source
    return sources


@dataclass(kw_only=True, eq=False, repr=False)
class MultiQueryRecall(Task):
    """K keys with one value each. Later each key is repeated, and the answer is its value.

        K = 2, vocabulary 12: keys 1 to 5, values 6 to 11, blank 0

        tokens    2  8  4  7  0  0  4  0  0  0  0  0  2  0  0  0
        targets   –  –  –  –  –  –  7  –  –  –  –  –  8  –  –  –

    Law: the sequence begins with pairs of K different keys from 1..V/2−1 and K different values from V/2..V−1, uniform.
    Each key is repeated once, at an even distance 2g after the pairs; all other tokens are blanks. The K different gaps
    g are drawn one after the other with weights (g + 1)^(power − 1), g < (n − 2K)/2: with a small `power` most queries
    are near the pairs, with power 1 they are uniform.

    Source: Arora et al. 2023 (https://arxiv.org/abs/2312.04927) and their code, HazyResearch/zoology, with its example.
    Deviations: the default vocabulary is 64, not 8192; blanks stay blank (`random_non_queries` false); odd lengths are
    allowed. Random guess among the values: 2/V; a target is the value's token.
    """

    published = (
        "the width that gated convolutions need grows with length, that of attention does not (Arora et al. 2023). "
        "Nothing that we know of about encodings."
    )

    vocab_size: int = 64
    num_pairs: int = 4
    power: float = 0.01
    causal: bool = True
    readout: str = "per_token"

    per_token = True
    determined_by = "sequence"  # keys differ
    blind_masks = (False, True)

    def __post_init__(self) -> None:
        K, V = self.num_pairs, self.vocab_size
        checks.positive(self, num_pairs=K)
        checks.number(self, low=0, power=self.power)
        checks.at_least(self, 2 * K + 2, f"there are {K} different keys and as many values", vocab_size=V)
        self.num_outputs, self.min_length = V, 4 * K
        super().__post_init__()

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        K, first_value = self.num_pairs, self.vocab_size // 2
        log_weights = (self.power - 1) * np.log(np.arange(1, (length - 2 * K) // 2 + 1))
        uniform = torch.rand(batch, self.vocab_size - 1 + len(log_weights), generator=generator, dtype=torch.float64)
        of_keys, of_values, of_gaps = np.split(uniform.numpy(), (first_value - 1, self.vocab_size - 1), axis=1)
        keys, values = 1 + largest(of_keys, K), first_value + largest(of_values, K)
        # The order of log weights plus Gumbel noise is a draw without replacement with these weights.
        asked = 2 * K + 2 * largest(log_weights - np.log(-np.log1p(-of_gaps)), K)
        tokens, targets = np.zeros((batch, length), dtype=np.int64), np.full((batch, length), IGNORE)
        tokens[:, 0 : 2 * K : 2], tokens[:, 1 : 2 * K : 2] = keys, values
        rows = np.arange(batch)[:, None]
        tokens[rows, asked], targets[rows, asked] = keys, values
        return torch.from_numpy(tokens), torch.from_numpy(targets)

    def order_blind_ceiling(self, length: int) -> float:
        """Exactly 1/K: the bag shows K values, and each is equally likely to belong to the key."""
        return 1 / self.num_pairs


@dataclass(kw_only=True, eq=False, repr=False)
class Induction(Task):
    """... A B ... A: the token that followed A before.

        7 2 5 9 9 2 0 3 1 5    → 9 (5 has occurred once, and 9 followed it)

    Law: A is uniform. It is the last token, and occurs once before, at a uniformly random place of the first n − 2. All
    other tokens, with B, are uniform and independent over the other V − 1 values. Source: the induction heads of Olsson
    et al. 2022 (https://arxiv.org/abs/2209.11895), with a single query, so that the answer is certain. Random guess:
    1/(V − 1).
    """

    published = (
        "two layers solve it; one layer would have to be exponentially larger (Sanford et al. 2024, "
        "https://arxiv.org/abs/2408.14332). With RoPE, heads attend to the previous token by its highest frequencies; "
        "a model without encoding has no substitute (Barbero et al. 2025, https://arxiv.org/abs/2410.06205)."
    )

    vocab_size: int = 20
    causal: bool = True
    readout: str = "last"

    min_length = 3
    determined_by = "sequence"  # A occurs once before
    blind_masks = (False, True)

    def __post_init__(self) -> None:
        checks.at_least(self, 3, "A and two values that may follow it are needed", vocab_size=self.vocab_size)
        self.num_outputs = self.vocab_size
        super().__post_init__()

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        A = torch.randint(self.vocab_size, (batch, 1), generator=generator)
        tokens = torch.randint(self.vocab_size - 1, (batch, length), generator=generator)
        tokens += tokens >= A
        place = torch.randint(length - 2, (batch, 1), generator=generator)
        tokens[:, -1:] = A
        tokens.scatter_(1, place, A)
        return tokens, tokens.gather(1, place + 1)[:, 0]

    def sources(self, tokens: Tensor) -> Tensor:
        """The place after the earlier A, for the last token."""
        return at_the_end(1 + (tokens[:, :-1] == tokens[:, -1:]).int().argmax(1), tokens)

    def order_blind_ceiling(self, length: int) -> float:
        """Exact. If the model knows the last token A, each of the m = n − 2 other tokens is equally likely to be the
        answer: E[largest count of m uniform symbols out of V − 1]/m.

        With other read-outs (mean, query) the model does not know A. Each of the k values that occur twice is equally
        likely to be A, which is not the answer. A value that occurs M ≥ 3 times is still the best guess. If there is
        none, a value that occurs twice is right with probability 2(k − 1)/(k m), and a value that occurs once with 1/m.
        """
        m, W = length - 2, self.vocab_size - 1
        largest = expected_largest_count(m, W)
        if self.readout == "last":
            return largest / m
        pairs = np.arange(m // 2 + 1)  # number of values other than A that occur twice, if the others occur once
        pairs = pairs[m - pairs <= W]
        log = gammaln(m + 1) - m * np.log(W) + gammaln(W + 1) - pairs * np.log(2)
        log = log - gammaln(pairs + 1) - gammaln(m - 2 * pairs + 1) - gammaln(W - m + pairs + 1)
        law = np.exp(log)
        best = np.where(2 * pairs < m, np.maximum(1, 2 * pairs / (pairs + 1)), 2 * pairs / (pairs + 1))
        return float(largest + law @ (best - np.where(pairs > 0, 2, 1))) / m


@dataclass(kw_only=True, eq=False, repr=False)
class Needle(Task):
    """Which value follows the marker? The question is at the end, `distance` places after the value.

        V = 10, ! is the marker, ? the question

        7 2 5 ! 9 9 2 0 3 ?    → 9 (at distance 5)

    Law: the values are uniform and independent over V symbols; marker and question are tokens V and V + 1. `distance`,
    from the value to the question, is the same at every length; null: uniform over all distances that fit. Source: the
    passkey of Mohtashami & Jaggi 2023 (https://arxiv.org/abs/2305.16300) and later "needle in a haystack" tests,
    without language. Random guess: 1/V.
    """

    published = (
        "softmax attention must spread over more tokens as sequences grow, whatever was learned (Veličković et "
        "al. 2024, https://arxiv.org/abs/2410.01104). With landmark tokens a model of 7 billion parameters works "
        "beyond 32,000 tokens (the source)."
    )

    vocab_size: int = field(init=False)
    num_values: int = 20
    distance: int | None = None
    causal: bool = True
    readout: str = "last"

    determined_by = "sequence"  # the marker occurs once
    blind_masks = (False, True)

    def __post_init__(self) -> None:
        checks.positive(self, minimum=2, num_values=self.num_values)
        if self.distance is not None:
            checks.positive(self, distance=self.distance)
        self.min_length = 2 + (self.distance or 1)
        self.num_outputs, self.vocab_size = self.num_values, self.num_values + 2
        super().__post_init__()

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        tokens = torch.randint(self.num_outputs, (batch, length), generator=generator)
        marker = torch.randint(length - 2, (batch, 1), generator=generator)
        if self.distance is not None:
            marker.fill_(length - 2 - self.distance)
        tokens[:, -1] = self.num_outputs + 1
        tokens.scatter_(1, marker, self.num_outputs)
        return tokens, tokens.gather(1, marker + 1)[:, 0]

    def sources(self, tokens: Tensor) -> Tensor:
        """The place after the marker, for the question."""
        return at_the_end(1 + (tokens == self.num_outputs).int().argmax(1), tokens)

    def order_blind_ceiling(self, length: int) -> float:
        """Exact: each of the n − 2 values is equally likely to be the marked one, so E[largest count]/(n − 2)."""
        return expected_largest_count(length - 2, self.num_outputs) / (length - 2)


@dataclass(kw_only=True, eq=False, repr=False)
class SelectiveCopy(TransductionTask):
    """m data symbols among blanks: write the data in order.

        m = 4, blank 0    input   0 3 0 0 7 1 0 0 0 3 0      output   3 7 1 3

    Law: the m places are uniform among all sets of m, the data are uniform and independent over `num_values` symbols.
    `length` counts the input with its blanks; m is the same at every length, so longer inputs have more blanks.

    Source: Gu & Dao 2023 (https://arxiv.org/abs/2312.00752), after the denoising task of Jing et al. 2019
    (https://arxiv.org/abs/1706.02761), the copying task of recurrent models with random places. Gu & Dao have 16 data
    symbols in 4096 places, and the same 16 tokens: a blank, 14 values and the slot. Random guess among the values:
    1/num_values.
    """

    published = (
        "CoPE, whose positions depend on the context, solves it where popular encodings fail (Golovneva et al. "
        "2024, https://arxiv.org/abs/2405.18719). Time-invariant state space models fail as well (Gu & Dao 2023)."
    )

    num_values: int = 14
    num_data: int = 8

    def __post_init__(self) -> None:
        checks.positive(self, minimum=2, num_values=self.num_values)
        checks.positive(self, num_data=self.num_data)
        self.num_outputs, self.min_length = self.num_values + 1, self.num_data
        super().__post_init__()

    def output_length(self, length: int) -> int:
        """m at every length."""
        return self.num_data

    def pairs(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        uniform = torch.rand(batch, length, generator=generator, dtype=torch.float64).numpy()
        places = torch.from_numpy(np.sort(largest(uniform, self.num_data)))
        data = torch.randint(1, self.num_outputs, (batch, self.num_data), generator=generator)
        return torch.zeros(batch, length, dtype=torch.int64).scatter_(1, places, data), data

    def order_blind_ceiling(self, length: int) -> float:
        """Exact. With slots the best model names the most frequent symbol in all: E[largest count of m symbols]/m.

        Under teacher forcing it knows the symbols so far, so the j-th is equally likely to be any of the m − j + 1 that
        are left: the mean over k = 1..m of E[largest count of k symbols]/k.
        """
        shares = [expected_largest_count(k, self.num_values) / k for k in range(1, self.num_data + 1)]
        return sum(shares) / len(shares) if self.causal else shares[-1]
