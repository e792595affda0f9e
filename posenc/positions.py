"""Where the tokens of a sequence stand, and THE sign convention.

    distance = key position − query position        (negative looks left, positive looks right)

    query at 2, N = 5:      key        0   1   2   3   4
                            distance  −2  −1   0  +1  +2

Every encoding, kernel and figure in posenc takes distances from here.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Positions:
    """The position of each token, as a whole-number id in [0, span) times a scale.

    ids          (b, N) whole numbers, b = 1 (shared by the batch) or B
    span         ids lie in [0, span), so the signed distances lie on a grid of M = 2·span − 1 values
    scale        length of one step (1; below 1 for position interpolation): positions are ids · scale
    consecutive  ids are o, o + 1, ..., o + N − 1: distance biases then need no gather, only a strided view
    """

    ids: Int[Tensor, "b N"]
    span: int
    scale: float = 1.0
    consecutive: bool = False

    @classmethod
    def arange(cls, length: int, device: torch.device | str | None = None) -> "Positions":
        """0, 1, ..., length − 1."""
        return cls(torch.arange(length, device=device)[None], span=length, consecutive=True)

    @property
    def length(self) -> int:
        return self.ids.shape[-1]

    @property
    def extent(self) -> float:
        """No position is larger than this: (span − 1) · scale. Known without looking at the ids."""
        return (self.span - 1) * self.scale

    @property
    def values(self) -> Float[Tensor, "b N"]:
        """The positions themselves, ids · scale, in float32."""
        return self.ids.to(torch.float32) * self.scale

    @property
    def distances(self) -> Float[Tensor, " M"]:
        """All M = 2·span − 1 signed distances that can occur, from −extent to +extent, in float32."""
        grid = torch.arange(1 - self.span, self.span, device=self.ids.device, dtype=torch.float32)
        return grid * self.scale

    @property
    def distance_index(self) -> Int[Tensor, "b N N"]:
        """For each (query, key) the column of its distance on the grid of `distances`."""
        return self.ids[:, None, :] - self.ids[:, :, None] + (self.span - 1)

    def shifted(self, offset: int) -> "Positions":
        """All positions moved by a common offset ≥ 0; no distance changes."""
        return replace(self, ids=self.ids + offset, span=self.span + offset)
