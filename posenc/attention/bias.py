"""The biases that an encoding adds to the scaled attention logits. `kernels.choose` picks a kernel by the bias's class.

B batch, H heads, N length, M = 2·span − 1 signed distances (see `posenc.positions.positions`). A matrix is N×N. If
`positions.keys` is given, it has a row for each query and a column for each key.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from posenc.attention.kernels import blocks
from posenc.positions.positions import Positions

BLOCK = 2**21
"""How many numbers `ByPairs` computes at once: 8 MiB in float32. A smaller block fits into more caches, but every block
needs many calls of torch: with half of this size FIRE's step takes a tenth to a quarter longer from 1,024 tokens
on, with twice this size it takes a sixth longer at 4,096."""


class AddsValues:
    """What some biases add to the values: `values`, (h, M, d), by distance, with h = 1 or H; None: nothing."""

    values: Float[Tensor, "h M d"] | None = None

    @property
    def has_values(self) -> bool:
        """Whether the bias also adds to the values. A kernel then needs the attention weights themselves."""
        return self.values is not None

    def weighted_values(
        self, weights: Float[Tensor, "B H N N"], positions: Positions
    ) -> Float[Tensor, "B H N d"] | None:
        """Σ_n weights[m, n] · values[distance(m, n)], added to the output of attention; None if there are no values.

        The weights are summed by distance first. So no tensor of shape (N, N, d) is built.
        """
        if self.values is None:
            return None
        index = positions.distance_index[:, None].expand(*weights.shape)
        sums = weights.new_zeros(*weights.shape[:-1], self.values.shape[-2]).scatter_add(-1, index, weights)
        return sums @ self.values.to(weights.dtype)


@dataclass(frozen=True)
class ByDistance(AddsValues):
    """A bias given by its values at the M possible distances. The encoding never builds an N×N matrix.

    table   (b, H, n, M): b = 1 or B; n = 1 (one row for all queries) or N (one row for each query)

    Column j is the bias at distance `positions.distances[j]`, so a plot of the table shows the bias by distance.
    """

    table: Float[Tensor, "b H n M"]

    @property
    def learned(self) -> bool:
        """Whether the bias needs a gradient."""
        return self.table.requires_grad

    def matrix(self, positions: Positions) -> Float[Tensor, "b H N N"]:
        """The bias for each (query, key) pair."""
        table, queries, keys = self.table, positions.length, positions.at_keys.length
        if positions.consecutive:
            first = positions.span - keys
            table = table[..., first : first + keys + queries - 1]  # only −(keys − 1) .. queries − 1 occur
            if torch.compiler.is_exporting() and table.shape[-2] == 1:
                table = table.expand(-1, -1, queries, -1)  # `unfold` makes no view while the length is a symbol
            elif table.shape[-2] == 1:
                # Row m of the Toeplitz matrix is the window of values from distance −m on. A strided view gives it.
                return table[..., 0, :].unfold(-1, keys, 1).flip(-2)
            return blocks.skew(table)
        index = positions.distance_index[:, None]
        if table.shape[0] == 1 and table.shape[-2] == 1:
            return table[0, :, 0][:, index[:, 0]].transpose(0, 1)
        batch = max(table.shape[0], index.shape[0])
        return table.expand(batch, -1, queries, -1).gather(-1, index.expand(batch, table.shape[1], queries, keys))


@dataclass(frozen=True)
class ByQuery(AddsValues):
    """A bias made of queries and of one vector for each distance: the table is queries · vectorsᵀ.

    queries  (B, H, N, c), scaled
    vectors  (h, M, c): h = 1 or H
    reach    all distances ≥ reach have the same vector and value, and so have all distances ≤ −reach (an encoding that
             clips distances); None: not known. A kernel may then give the gradient of equal vectors to any one of them
    """

    queries: Float[Tensor, "B H N c"]
    vectors: Float[Tensor, "h M c"]
    values: Float[Tensor, "h M d"] | None = None
    reach: int | None = field(default=None, kw_only=True)

    @property
    def learned(self) -> bool:
        """Whether the bias needs a gradient."""
        given = (self.queries, self.vectors, self.values)
        return any(x.requires_grad for x in given if x is not None)

    @property
    def table(self) -> Float[Tensor, "B H N M"]:
        """A row of distances for each query, as in `ByDistance`."""
        return self.queries @ self.vectors.mT

    def matrix(self, positions: Positions) -> Float[Tensor, "B H N N"]:
        """The bias for each (query, key) pair."""
        return ByDistance(self.table).matrix(positions)


@dataclass(frozen=True)
class Dense(AddsValues):
    """A bias that depends on the content of the keys or on the logits. It needs the whole N×N matrix.

    logits  (b, h, N, N): b = 1 or B, h = 1 or H
    """

    logits: Float[Tensor, "b h N N"]
    values: Float[Tensor, "h M d"] | None = None

    @property
    def learned(self) -> bool:
        """Whether the bias needs a gradient."""
        return self.logits.requires_grad or (self.values is not None and self.values.requires_grad)

    def matrix(self, positions: Positions) -> Float[Tensor, "b h N N"]:
        """`logits`. Raises ConfigError if their shape is not (queries, keys), because they would broadcast."""
        blocks.fits(self.logits, self.logits.mT, positions)
        return self.logits


@dataclass(frozen=True)
class ByPairs(AddsValues):
    """A bias that is computed for some queries and keys at a time, because all pairs at once would not fit in memory.

    logits      (parameters, queries, keys) → (b, h, m, n), the bias between these places: b = 1 or B, h = 1 or H
    parameters  all tensors that may need a gradient; `logits` reads no other tensor that needs one
    width       how many numbers `logits` computes for each pair of places, in all b sequences together
    """

    logits: Callable[[tuple[Tensor, ...], slice, slice], Float[Tensor, "b h m n"]]
    parameters: tuple[Tensor, ...]
    width: int

    @property
    def learned(self) -> bool:
        """Whether the bias needs a gradient."""
        return any(x.requires_grad for x in self.parameters)

    def matrix(self, positions: Positions) -> Float[Tensor, "b h N N"]:
        """The bias for each (query, key) pair. If no gradient is recorded, no larger tensor exists at any time."""
        N = positions.at_keys.length
        rows = self.blocks(positions.length, N)
        return torch.cat([self.logits(self.parameters, m, slice(0, N)) for m in rows], -2)

    def blocks(self, queries: int, keys: int, others: int = 1) -> Iterator[slice]:
        """Slices of the queries. A slice needs about `BLOCK` numbers: for each pair `width`, or `others` if larger."""
        return blocks.cut(queries, max(1, BLOCK // (keys * max(others, self.width))))


Bias = ByDistance | ByQuery | ByPairs | Dense
