"""Retrieval at an offset from a marker, with the largest priority, and by a key of several tokens."""

from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor

from posenc import checks
from posenc.checks import ConfigError
from posenc.tasks.base import IGNORE, Task
from posenc.tasks.parts.counts import expected_largest_count
from posenc.tasks.recall import at_the_end, largest


@dataclass(kw_only=True, eq=False, repr=False)
class OffsetIndexing(Task):
    """The token k places left or right of the marker; the last token names k.

        max_offset 3, ! is the marker, [k] is the question for offset k

        7 2 5 ! 9 9 2 0 3 [−2]    → 2
        7 2 5 ! 9 9 2 0 3 [+3]    → 2

    Law: values are uniform and independent over V symbols. k is uniform over −K..−1 and 1..K, K = `max_offset`; the
    marker is uniform over the places from which k leads to a value. Tokens: the values, the marker V, then the 2K
    questions in the order of k. Random guess: 1/V.

    Source: indirect indexing, Gopalakrishnan et al. 2025 (https://arxiv.org/abs/2509.10534), where the question is the
    token at an offset from a named character. Deviation: a marker, the same in all sequences, names the place.
    """

    published = (
        "on their law RoPE reaches 11 % and PoPE 95 % (Gopalakrishnan et al. 2025), because in RoPE content and "
        "position change the same phase."
    )

    vocab_size: int = field(init=False)
    num_values: int = 20
    max_offset: int = 8
    causal: bool = True
    readout: str = "last"

    determined_by = "sequence"
    blind_masks = (False, True)

    def __post_init__(self) -> None:
        checks.positive(self, minimum=2, num_values=self.num_values)
        checks.positive(self, max_offset=self.max_offset)
        self.num_outputs, self.min_length = self.num_values, self.max_offset + 2
        self.vocab_size = self.num_values + 1 + 2 * self.max_offset
        super().__post_init__()

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        V, K = self.num_values, self.max_offset
        tokens = torch.randint(V, (batch, length), generator=generator)
        question = torch.randint(2 * K, (batch, 1), generator=generator)
        k = torch.where(question < K, question - K, question - K + 1)
        room = length - 1 - k.abs()
        uniform = torch.rand(batch, 1, generator=generator, dtype=torch.float64)
        marker = (uniform * room).long().minimum(room - 1) + (-k).clamp(min=0)
        tokens.scatter_(1, marker, V)
        tokens[:, -1:] = V + 1 + question
        return tokens, tokens.gather(1, marker + k)[:, 0]

    def sources(self, tokens: Tensor) -> Tensor:
        """The place of the answer, for the question."""
        question = tokens[:, -1] - self.num_values - 1
        k = torch.where(question < self.max_offset, question - self.max_offset, question - self.max_offset + 1)
        return at_the_end((tokens == self.num_values).int().argmax(1) + k, tokens)

    def order_blind_ceiling(self, length: int) -> float:
        """Exact: each of the n − 2 values is equally likely to be the answer, so E[largest count]/(n − 2)."""
        return expected_largest_count(length - 2, self.num_values) / (length - 2)


@dataclass(kw_only=True, eq=False, repr=False)
class MaxRetrieval(Task):
    """Which class has the largest priority?

        priority class priority class priority class
           17      B      40      A       3      C        → A

    Law: `length` items of two tokens each. Priorities are different and uniform over `num_priorities`, classes uniform
    and independent over `num_values`. Tokens: classes first, then priorities. Random guess: 1/num_values.

    Source: maximum retrieval, Veličković et al. 2024 (https://arxiv.org/abs/2410.01104). Deviation: their item is one
    vector with a real number and a class, so no encoding could matter. Here an item has two tokens, and a model finds
    the second by its place.
    """

    published = (
        "softmax attention must spread over more items as their number grows, and accuracy falls beyond the trained "
        "number; an adaptive temperature helps (Veličković et al. 2024). Nothing that we know of about encodings."
    )

    vocab_size: int = field(init=False)
    num_values: int = 10
    num_priorities: int = 512
    readout: str = "query"

    determined_by = "sequence"
    blind_masks = (False,)

    def __post_init__(self) -> None:
        checks.positive(self, minimum=2, num_values=self.num_values)
        checks.positive(self, num_priorities=self.num_priorities)
        self.num_outputs, self.vocab_size = self.num_values, self.num_values + self.num_priorities
        self.max_length = self.num_priorities
        super().__post_init__()
        if self.longest > self.num_priorities:
            raise ConfigError(
                f"{self}: {self.longest} items need as many different priorities, but there are "
                f"{self.num_priorities}; set dataset.num_priorities={self.longest}."
            )

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        uniform = torch.rand(batch, self.num_priorities, generator=generator)
        priority = uniform.argsort(1)[:, :length]
        classes = torch.randint(self.num_values, (batch, length), generator=generator)
        tokens = torch.stack((self.num_values + priority, classes), -1).flatten(1)
        return tokens, classes.gather(1, priority.argmax(1, keepdim=True))[:, 0]

    def order_blind_ceiling(self, length: int) -> float:
        """Exact: each of the n classes is equally likely to be the answer, so E[largest count]/n."""
        return expected_largest_count(length, self.num_values) / length


@dataclass(kw_only=True, eq=False, repr=False)
class MultiTokenRecall(Task):
    """Keys and values of several tokens. Later some keys are repeated, and the answers are their values.

        2 tokens each, keys over a b c, values over 0 to 3, blank _

        tokens    a c 3 1  b a 0 1  a b 2 2   b a _ _  a c _ _
        targets   – – – –  – – – –  – – – –   – 0 1 –  – 3 1 –

    Law: a = `key_tokens`, b = `value_tokens`, Q = `num_queries`. A sequence has as many (a + b)-tuples as fit, then
    blanks. The last Q tuples are queries: a key, then b blanks. The first token of the value is the answer at the key's
    last token, the next ones are answers at blanks. The other tuples are pairs: keys are different words of a letters
    from an alphabet of `key_letters`, uniform, so that keys have letters in common; values are uniform and independent
    over `value_letters`. Queries are different pairs, in uniform order. Random guess: 1/value_letters.

    Source: multi-query multi-token associative recall (MQMTAR), Vasylenko et al. 2025
    (https://arxiv.org/abs/2506.16640), with keys and values of 2 tokens and 4 queries. Deviations: they have one
    alphabet of 256 letters, values from 10,000 words, gaps between pairs, and the answers after all queries. Here no
    answer is shown, as in `multi_query_recall`.
    """

    published = (
        "with ALiBi on half of the heads and nothing on the others (NAPE), and adaptive entmax instead of softmax, "
        "models generalise up to 1,000 times the trained length (Vasylenko et al. 2025)."
    )

    vocab_size: int = field(init=False)
    num_queries: int = 2
    key_tokens: int = 2
    value_tokens: int = 2
    key_letters: int = 16
    value_letters: int = 16
    causal: bool = True
    readout: str = "per_token"

    per_token = True
    determined_by = "sequence"
    blind_masks = (False, True)

    def __post_init__(self) -> None:
        checks.positive(self, num_queries=self.num_queries, key_tokens=self.key_tokens, value_tokens=self.value_tokens)
        checks.positive(self, minimum=2, key_letters=self.key_letters, value_letters=self.value_letters)
        at_most = next(n for n in range(64) if self.key_letters ** (n + 1) > checks.MAX_NUMBERS)
        if self.key_tokens > at_most:
            raise ConfigError(
                f"MultiTokenRecall: {self.key_letters} letters make {self.key_letters}^{self.key_tokens} different "
                f"keys, but at most {checks.MAX_NUMBERS:,} are possible; "
                + (f"lower dataset.key_tokens to {at_most}." if at_most else "lower dataset.key_letters.")
            )
        self.num_outputs = self.value_letters
        self.vocab_size = 1 + self.value_letters + self.key_letters  # blank, values, keys
        self.min_length = 2 * self.num_queries * (self.key_tokens + self.value_tokens)
        self.max_length = (self.key_letters**self.key_tokens + self.num_queries + 1) * self._item - 1
        super().__post_init__()
        if self.longest > self.max_length:
            raise ConfigError(
                f"{self}: {self.key_letters} letters make {self.key_letters**self.key_tokens:,} different keys, too "
                f"few for {self._pairs(self.longest):,} pairs at length {self.longest}; raise dataset.key_letters."
            )

    @property
    def _item(self) -> int:
        return self.key_tokens + self.value_tokens

    def _pairs(self, length: int) -> int:
        return length // self._item - self.num_queries

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        a, b, P, Q = self.key_tokens, self.value_tokens, self._pairs(length), self.num_queries
        uniform = torch.rand(batch, self.key_letters**a, generator=generator, dtype=torch.float64)
        word = torch.from_numpy(largest(uniform.numpy(), P).copy())[..., None]
        keys = word // self.key_letters ** torch.arange(a) % self.key_letters + 1 + self.value_letters
        values = torch.randint(self.value_letters, (batch, P, b), generator=generator)
        asked = torch.rand(batch, P, generator=generator).argsort(1)[:, :Q, None]
        pairs = torch.cat((keys, 1 + values), -1).flatten(1)
        query = torch.nn.functional.pad(keys.gather(1, asked.expand(-1, -1, a)), (0, b)).flatten(1)
        tokens = torch.nn.functional.pad(torch.cat((pairs, query), 1), (0, length - (P + Q) * (a + b)))
        targets = torch.full_like(tokens, IGNORE)
        answers = values.gather(1, asked.expand(-1, -1, b))
        place = P * (a + b) + torch.arange(Q)[:, None] * (a + b) + a - 1 + torch.arange(b)
        targets[:, place.flatten()] = answers.flatten(1)
        return tokens, targets

    def order_blind_ceiling(self, length: int) -> float:
        """Exact: each of the m value tokens is equally likely to be the answer, so E[largest count]/m."""
        m = self._pairs(length) * self.value_tokens
        return expected_largest_count(m, self.value_letters) / m
