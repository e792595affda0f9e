"""Selective RoPE: the angle of each step depends on the tokens."""

import torch
from torch import Tensor
from torch.nn import functional as F

from posenc import checks
from posenc.attention.projection import Projection
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.convolution import TokenConvolution
from posenc.encodings.rope import turn
from posenc.positions.positions import Positions


class SelectiveRotaryPositionalEncoding(PositionalEncoding):
    """RoPE at the angles τ_i · Σ_{s≤p} φ_s,  φ = Conv(W₂ W₁ x̂),  τ_i = base^(−2i/d),  base = 500,000.

    Movahedi et al. 2025 (https://arxiv.org/abs/2511.17388) in the low-rank form of the authors' code: x̂ is the layer's
    input with each of its H chunks scaled to length 1, W₁: D → rank, W₂: rank → H·d/2, Conv a causal depthwise
    convolution over 4 tokens; half-split pairs. Start: W N(0, 1/fan in) (their model: N(0, 0.02²)), Conv torch's.
    Deviations: no gate and no bias of φ, no norm of q and k (options in that code). Each layer has its own W₁, W₂ and
    Conv, as in that code. It uses the order of the tokens, not position ids. Causal. Defined at every length.
    """

    source = "https://arxiv.org/abs/2511.17388"
    proof = ("formula",)
    size = "L·(3·rank·D/2 + 2·D)"
    depends_on = frozenset({"order", "content"})
    causal_only = True
    reads_input = True
    reads_before = True
    per_layer = True

    def __init__(self, dim: int, num_heads: int, causal: bool, rank: int = 16, base: float = 500_000.0) -> None:
        super().__init__()
        checks.divisible(self, dim=dim, num_heads=num_heads)
        checks.even(
            self, "turns pairs; set model.dim to an even multiple of model.num_heads", head_width=dim // num_heads
        )
        checks.under_a_causal_mask(self, causal=causal)
        checks.positive(self, maximum=checks.MAX_WIDTH, rank=rank)
        checks.number(self, low=1, open_low=True, base=base)
        self.dim, self.num_heads, self.causal, self.rank, self.base = dim, num_heads, causal, rank, base
        self.down, self.up = Projection(dim, rank, bias=False), Projection(rank, dim // 2, bias=False)
        self.convolution = TokenConvolution(dim // 2, 4)

    def angles(self, x: Tensor, positions: Positions) -> Tensor:
        """(B, H, N, d/2), in float32 at least."""
        unit = F.normalize(x.unflatten(-1, (self.num_heads, -1)), dim=-1).flatten(-2)
        phi = self.convolution.over(self.up(self.down(unit)), positions)
        phi = phi.unflatten(1, (self.num_heads, -1)).transpose(-1, -2)
        phi = phi.to(torch.promote_types(phi.dtype, torch.float32))
        pairs = phi.shape[-1]
        return phi.cumsum(-2) * self.base ** (-torch.arange(pairs, device=x.device, dtype=phi.dtype) / pairs)

    def rotate(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> tuple[Tensor, Tensor]:
        angle = self.angles(x, positions)
        cos, sin = angle.cos(), angle.sin()
        return turn(q, cos, sin, "half_split"), turn(k, cos, sin, "half_split")
