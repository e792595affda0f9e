"""What a relative encoding adds to the scaled attention logits; the type of the data picks the kernel.

B batch, H heads, N length, M = 2·span − 1 signed distances (see `posenc.positions`).
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from posenc.positions import Positions


@dataclass(frozen=True)
class ByDistance:
    """A bias given by its values at the M possible distances; never N×N where the encoding computes it.

    table  (b, H, n, M): b = 1 or B; n = 1 (all queries alike) or N (a row of distances for each query)

    Column j holds the logit at distance `positions.distances[j]`, so a plot of the table *is* the bias profile.
    """

    table: Float[Tensor, "b H n M"]

    def matrix(self, positions: Positions) -> Float[Tensor, "b H N N"]:
        """The bias for each (query, key) pair."""
        table, N, span = self.table, positions.length, positions.span
        if table.shape[-2] == 1 and positions.consecutive:
            # Row m of the Toeplitz matrix is the window of N values that starts at distance −m: a strided view.
            return table[..., 0, span - N : span + N - 1].unfold(-1, N, 1).flip(-2)
        index = positions.distance_index[:, None]
        if table.shape[0] == 1 and table.shape[-2] == 1:
            return table[0, :, 0][:, index[:, 0]].transpose(0, 1)
        batch = max(table.shape[0], index.shape[0])
        return table.expand(batch, -1, N, -1).gather(-1, index.expand(batch, table.shape[1], N, N))


@dataclass(frozen=True)
class Dense:
    """A bias that depends on the content of the keys or on the logits: nothing smaller than N×N describes it.

    logits  (b, h, N, N): b = 1 or B, h = 1 or H
    """

    logits: Float[Tensor, "b h N N"]

    def matrix(self, positions: Positions) -> Float[Tensor, "b h N N"]:
        """The logits themselves."""
        return self.logits


Bias = ByDistance | Dense
