"""Clipped RoPE (CoPE of 2026): the lowest frequencies are reduced to 0."""

import math

import torch
from torch import Tensor

from posenc import checks
from posenc.encodings.rope import RotaryPositionalEncoding
from posenc.positions.positions import Positions


class ClippedRotaryPositionalEncoding(RotaryPositionalEncoding):
    """RoPE with θ_i times (1 + cos(π j/(n − 1))) / 2 for the n lowest frequencies, j = 0 .. n − 1 from high to low.

    Clipped RoPE, Li et al. 2026, called CoPE there (https://arxiv.org/abs/2602.05258; `cope` is another encoding), as
    in the authors' code (https://github.com/hrlics/CoPE): the first of the n keeps its frequency, and the last does not
    turn. Hard clipping, all n at 0, is `p_rope`. n = ⌊clipped · r/2⌋; the code has 20 of 64, our default share. A
    single frequency is not clipped, as in that code. Defined at every length.
    """

    source = "https://arxiv.org/abs/2602.05258"
    proof = ("formula",)

    def __init__(
        self,
        dim: int,
        num_heads: int,
        clipped: float = 0.3125,
        base: float = 10_000.0,
        layout: str = "interleaved",
        rotated: float | None = None,
    ) -> None:
        super().__init__(dim, num_heads, base, layout, rotated)
        checks.number(self, low=0, high=1, clipped=clipped)
        self.clipped = clipped

    def rates(self, positions: Positions, dtype: torch.dtype) -> Tensor:
        theta = super().rates(positions, dtype)
        count = math.floor(self.clipped * len(theta) + 1e-9)
        angle = torch.linspace(0, math.pi, count, device=theta.device, dtype=dtype)
        return theta * torch.cat((torch.ones_like(theta[count:]), (1 + angle.cos()) / 2))
