"""Rotary position embedding: queries and keys turned by their positions."""

import torch
from torch import Tensor

from posenc import checks
from posenc.checks import ConfigError
from posenc.encodings.base import PositionalEncoding
from posenc.positions import Positions


class RotaryPositionalEncoding(PositionalEncoding):
    """Pair (2i, 2i+1) of q and of k is turned by the angle p·θ_i,  θ_i = base^(−2i/d).

    RoPE, Su et al. 2021 (https://arxiv.org/abs/2104.09864). The logit q_m·k_n depends on content and on n − m only. The
    interleaved pairs of the paper; Llama's half-split layout is a permutation of d. Applied in every layer. Angles are
    float32 at least, also under bfloat16. 0 parameters. Defined at every length; past the training length, low
    frequencies turn to angles that were never seen.
    """

    def __init__(self, dim: int, num_heads: int, base: float = 10_000.0) -> None:
        super().__init__()
        checks.divisible(self, dim=dim, num_heads=num_heads)
        head_dim = dim // num_heads
        checks.number(self, low=1, open_low=True, base=base)
        if head_dim % 2:
            raise ConfigError(
                f"{type(self).__name__} turns pairs: the head width must be even, got {head_dim}; "
                "set model.dim to an even multiple of model.num_heads."
            )
        self.head_dim, self.base = head_dim, base

    def rotate(self, q: Tensor, k: Tensor, positions: Positions) -> tuple[Tensor, Tensor]:
        dtype = torch.promote_types(q.dtype, torch.float32)
        theta = self.base ** (-torch.arange(0, self.head_dim, 2, device=q.device, dtype=dtype) / self.head_dim)
        angle = (positions.values.to(dtype)[..., None] * theta)[:, None]  # (b, 1, N, d/2)
        cos, sin = angle.cos(), angle.sin()
        return _turn(q, cos, sin), _turn(k, cos, sin)

    def extra_repr(self) -> str:
        return f"head_dim={self.head_dim}, base={self.base:g}"


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, odd * cos + even * sin), dim=-1).flatten(-2).to(x.dtype)
