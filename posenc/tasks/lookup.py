"""The value at the place that the last token names."""

from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor

from posenc import checks
from posenc.checks import ConfigError
from posenc.tasks.base import Task
from posenc.tasks.parts.counts import expected_largest_count
from posenc.tasks.recall import at_the_end


@dataclass(kw_only=True, eq=False, repr=False)
class Lookup(Task):
    """Given n values and a query token that names a place: which value is at this place?

        hops 1     place   0  1  2  3  4  query
                   token   7  3  9  3  0  @2        → 9

        hops 2     place   0  1  2  3  4  query
                   token   3  0  4  2  1  @2        → 1 (4 is at place 2, and 1 at place 4)

    A sequence has `length` tokens: n = length − 1 values, then the query. With several hops the value names the next
    place, `hops` times in all; the last value is the answer.

    Law: the query is uniform over the n places. The values are uniform and independent over `num_values` symbols; if
    num_values is null they are a uniformly random permutation of the n places (needed for several hops).

    Tokens: the values, then one token for each place that a query may name, so `max_length` must be at least the
    longest length. At lengths beyond training, queries also name places that training never named. The embeddings of
    their tokens are untrained, and no model can distinguish them.

    Source: our own. Several hops are the composition of a function with itself; Peng et al. 2024
    (https://arxiv.org/abs/2402.08164) compose two different functions. Deviation: the functions are permutations, so
    that all bags are equal, and the ceiling is exact. Random guess: 1/num_values, or 1/n for permutations.
    """

    published = (
        "nothing that we know of for this law. One layer cannot compose functions of large domains (Peng et al. 2024). "
        "If the question is the token at an offset from a named one, RoPE reaches 11 % and PoPE 95 % (Gopalakrishnan "
        "et al. 2025, https://arxiv.org/abs/2509.10534)."
    )

    vocab_size: int = field(init=False)
    num_values: int | None = 20
    max_length: int = 256  # pyright: ignore[reportIncompatibleVariableOverride]: an option here, and a whole number
    hops: int = 1
    readout: str = "last"

    min_length = 2
    determined_by = "sequence"

    def __post_init__(self) -> None:
        checks.positive(self, minimum=2, max_length=self.max_length)
        checks.positive(self, maximum=1024, hops=self.hops)
        if self.num_values is not None:
            checks.positive(self, minimum=2, num_values=self.num_values)
            if self.hops > 1:
                raise ConfigError(
                    f"{self}: with hops={self.hops} the values must be places; set dataset.num_values=null, not "
                    f"{self.num_values}."
                )
        self.num_outputs = self.max_length - 1 if self.num_values is None else self.num_values
        self.vocab_size = self.num_outputs + self.max_length - 1
        super().__post_init__()
        longest = self.longest
        if longest > self.max_length:
            raise ConfigError(
                f"{self}: length {longest} needs a query token for each of its {longest - 1} places, but max_length is "
                f"{self.max_length}; set dataset.max_length={longest}."
            )

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        n = length - 1
        if self.num_values is None:
            values = torch.rand(batch, n, generator=generator, dtype=torch.float64).argsort(1)
        else:
            values = torch.randint(self.num_outputs, (batch, n), generator=generator)
        query = torch.randint(n, (batch, 1), generator=generator)
        found = query
        for _ in range(self.hops):
            found = values.gather(1, found)
        return torch.cat((values, self.num_outputs + query), dim=1), found[:, 0]

    def sources(self, tokens: Tensor) -> Tensor | None:
        """The place that the query names. None with several hops, which need several places."""
        return None if self.hops > 1 else at_the_end(tokens[:, -1] - self.num_outputs, tokens)

    def order_blind_ceiling(self, length: int) -> float:
        """Exact.

        Independent values: each of the n is equally likely to be the answer, so the best guess is the most frequent
        value and the ceiling is E[largest count]/n. Permutations: the bag only shows the queried place q. `hops` steps
        lead back to q if the length of its cycle, uniform over 1..n, divides `hops`; otherwise all other places are
        equally likely. So q is right with probability p = (number of divisors of `hops` up to n)/n, and any other place
        with probability (1 − p)/(n − 1).
        """
        n = length - 1
        if self.num_values is not None:
            return expected_largest_count(n, self.num_outputs) / n
        returns = sum(self.hops % cycle == 0 for cycle in range(1, n + 1)) / n
        return max(returns, (1 - returns) / max(1, n - 1))
