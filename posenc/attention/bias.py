"""What a relative encoding adds to the scaled attention logits; the type of the data picks the kernel.

B batch, H heads, N length, M = 2·span − 1 signed distances (see `posenc.positions.positions`). A matrix is N×N; where
the positions say that keys stand apart from queries it has a row for each query and a column for each key.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from posenc.attention.kernels import blocks
from posenc.positions.positions import Positions

BLOCK = 2**20
"""Numbers that a bias of pairs makes at once: 4 MiB in float32, so that a block stays in a CPU's caches."""


@dataclass(frozen=True)
class ByDistance:
    """A bias given by its values at the M possible distances; never N×N where the encoding computes it.

    table   (b, H, n, M): b = 1 or B; n = 1 (all queries alike) or N (a row of distances for each query)

    Column j holds the logit at distance `positions.distances[j]`, so a plot of the table *is* the bias profile.
    """

    table: Float[Tensor, "b H n M"]
    has_values: ClassVar[bool] = False

    @property
    def learned(self) -> bool:
        """Whether a gradient of it is asked for."""
        return self.table.requires_grad

    def matrix(self, positions: Positions) -> Float[Tensor, "b H N N"]:
        """The bias for each (query, key) pair."""
        table, queries, keys = self.table, positions.length, positions.at_keys.length
        if positions.consecutive:
            first = positions.span - keys
            table = table[..., first : first + keys + queries - 1]  # only −(keys − 1) .. queries − 1 occur
            if torch.compiler.is_exporting() and table.shape[-2] == 1:
                table = table.expand(-1, -1, queries, -1)  # of a length that is not known yet `unfold` has no view
            elif table.shape[-2] == 1:
                # Row m of the Toeplitz matrix is the window of values that starts at distance −m: a strided view.
                return table[..., 0, :].unfold(-1, keys, 1).flip(-2)
            return blocks.skew(table)
        index = positions.distance_index[:, None]
        if table.shape[0] == 1 and table.shape[-2] == 1:
            return table[0, :, 0][:, index[:, 0]].transpose(0, 1)
        batch = max(table.shape[0], index.shape[0])
        return table.expand(batch, -1, queries, -1).gather(-1, index.expand(batch, table.shape[1], queries, keys))

    def weighted_values(self, weights: Float[Tensor, "B H N N"], positions: Positions) -> None:
        """Nothing is added to the values."""
        return


@dataclass(frozen=True)
class ByQuery:
    """A bias that each query reads from vectors of distances: the table is queries · vectorsᵀ, and need not be built.

    queries  (B, H, N, c), scaled
    vectors  (h, M, c): h = 1 or H
    values   (h, M, d) or None: what a key at each distance adds to its value
    reach    places from which on all distances of one side have equal vectors and values, as those that are clipped;
             None: not known. The gradient of `vectors` may then be given to any of the equal ones
    """

    queries: Float[Tensor, "B H N c"]
    vectors: Float[Tensor, "h M c"]
    values: Float[Tensor, "h M d"] | None = None
    reach: int | None = field(default=None, kw_only=True)

    @property
    def has_values(self) -> bool:
        """Whether it adds to the values too, for which the weights themselves are needed."""
        return self.values is not None

    @property
    def learned(self) -> bool:
        """Whether a gradient of it is asked for."""
        given = (self.queries, self.vectors, self.values)
        return any(x.requires_grad for x in given if x is not None)

    @property
    def table(self) -> Float[Tensor, "B H N M"]:
        """A row of distances for each query, as in `ByDistance`."""
        return self.queries @ self.vectors.mT

    def matrix(self, positions: Positions) -> Float[Tensor, "B H N N"]:
        """The bias for each (query, key) pair."""
        return ByDistance(self.table).matrix(positions)

    def weighted_values(
        self, weights: Float[Tensor, "B H N N"], positions: Positions
    ) -> Float[Tensor, "B H N d"] | None:
        """Σ_n weights[m, n] · values[distance(m, n)], what `values` add to the output of attention; None without them.

        The weights are summed by distance first, so that no (N, N, d) is built.
        """
        return by_distance(weights, self.values, positions)


def by_distance(
    weights: Float[Tensor, "B H N N"], values: Float[Tensor, "h M d"] | None, positions: Positions
) -> Float[Tensor, "B H N d"] | None:
    """Σ_n weights[m, n] · values[distance(m, n)]; None without values."""
    if values is None:
        return None
    index = positions.distance_index[:, None].expand(*weights.shape)
    sums = weights.new_zeros(*weights.shape[:-1], values.shape[-2]).scatter_add(-1, index, weights)
    return sums @ values.to(weights.dtype)


@dataclass(frozen=True)
class Dense:
    """A bias that depends on the content of the keys or on the logits: nothing smaller than N×N describes it.

    logits  (b, h, N, N): b = 1 or B, h = 1 or H
    values  as in `ByQuery`
    """

    logits: Float[Tensor, "b h N N"]
    values: Float[Tensor, "h M d"] | None = None

    @property
    def has_values(self) -> bool:
        """Whether it adds to the values too."""
        return self.values is not None

    @property
    def learned(self) -> bool:
        """Whether a gradient of it is asked for."""
        return self.logits.requires_grad or (self.values is not None and self.values.requires_grad)

    def matrix(self, positions: Positions) -> Float[Tensor, "b h N N"]:
        """The logits themselves. Raises ConfigError where queries and keys are not as many: they would broadcast."""
        blocks.fits(self.logits, self.logits.mT, positions)
        return self.logits

    def weighted_values(self, weights: Float[Tensor, "B H N N"], positions: Positions) -> Tensor | None:
        """As in `ByQuery`."""
        return by_distance(weights, self.values, positions)


@dataclass(frozen=True)
class ByPairs:
    """A bias that is computed for some queries and keys at a time, as what it takes for all would not fit.

    logits  (parameters, queries, keys) → (b, h, m, n): b = 1 or B, h = 1 or H; the bias between those places
    parameters  all that a gradient may be asked for; `logits` reads no other tensor that has one
    width   how many numbers `logits` makes for each pair of places, in all b sequences together
    """

    logits: Callable[[tuple[Tensor, ...], slice, slice], Float[Tensor, "b h m n"]]
    parameters: tuple[Tensor, ...]
    width: int
    has_values: ClassVar[bool] = False

    @property
    def learned(self) -> bool:
        """Whether a gradient of it is asked for."""
        return any(x.requires_grad for x in self.parameters)

    def matrix(self, positions: Positions) -> Float[Tensor, "b h N N"]:
        """The bias for each (query, key) pair; where no gradient is recorded, nothing larger lives."""
        N = positions.at_keys.length
        rows = self.blocks(positions.length, N)
        return torch.cat([self.logits(self.parameters, m, slice(0, N)) for m in rows], -2)

    def blocks(self, queries: int, keys: int, others: int = 1) -> Iterator[slice]:
        """Queries for which about `BLOCK` numbers are made at once: of the bias, or `others` for each pair."""
        return blocks.cut(queries, max(1, BLOCK // (keys * max(others, self.width))))

    def weighted_values(self, weights: Float[Tensor, "B H N N"], positions: Positions) -> None:
        """Nothing is added to the values."""
        return


Bias = ByDistance | ByQuery | ByPairs | Dense
