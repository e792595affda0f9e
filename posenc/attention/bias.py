"""What a relative encoding adds to the scaled attention logits; the type of the data picks the kernel.

B batch, H heads, N length, M = 2·span − 1 signed distances (see `posenc.positions.positions`).
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
        table, N, span = self.table, positions.length, positions.span
        if positions.consecutive:
            table = table[..., span - N : span + N - 1]  # only the distances −(N − 1) .. N − 1 occur
            if table.shape[-2] == 1:
                # Row m of the Toeplitz matrix is the window of N values that starts at distance −m: a strided view.
                return table[..., 0, :].unfold(-1, N, 1).flip(-2)
            return skew(table)
        index = positions.distance_index[:, None]
        if table.shape[0] == 1 and table.shape[-2] == 1:
            return table[0, :, 0][:, index[:, 0]].transpose(0, 1)
        batch = max(table.shape[0], index.shape[0])
        return table.expand(batch, -1, N, -1).gather(-1, index.expand(batch, table.shape[1], N, N))

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


def skew(table: Float[Tensor, "*b N M"]) -> Float[Tensor, "*b N N"]:
    """out[m, n] = table[m, n − m + N − 1], M = 2N − 1: a row of distances a query becomes a row of keys a query.

    Huang et al. 2018 (Music Transformer, https://arxiv.org/abs/1809.04281), section 3.4.1, for both directions: read
    with a stride of M − 1 instead of M, each row starts one distance further left. A view of a contiguous table.
    """
    N = table.shape[-2]
    if N == 1:
        return table
    flat = table.flatten(-2)[..., N - 1 : N - 1 + N * (2 * N - 2)]
    return flat.unflatten(-1, (N, 2 * N - 2))[..., :N]


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
        """The logits themselves."""
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
        N = positions.length
        return torch.cat([self.logits(self.parameters, m, slice(0, N)) for m in self.blocks(N)], -2)

    def blocks(self, length: int, others: int = 1) -> Iterator[slice]:
        """Queries for which about `BLOCK` numbers are made at once: of the bias, or `others` for each pair."""
        return blocks.cut(length, max(1, BLOCK // (length * max(others, self.width))))

    def weighted_values(self, weights: Float[Tensor, "B H N N"], positions: Positions) -> None:
        """Nothing is added to the values."""
        return


Bias = ByDistance | ByQuery | ByPairs | Dense


def replacing(
    logits: Float[Tensor, "B H N N"], q: Float[Tensor, "B H N c"], k: Float[Tensor, "B H N c"], head_dim: int
) -> Dense:
    """The bias that puts `logits` in the place of q kᵀ / √head_dim, for encodings that are not a sum."""
    return Dense(logits - ((q * head_dim**-0.5) @ k.mT).to(logits.dtype))


def earlier(length: int, device: torch.device | None = None) -> Tensor:
    """(N, N), True where the key (column) is not after the query (row)."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()
