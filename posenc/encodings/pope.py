"""PoPE: magnitudes carry content, phases carry position."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from posenc import checks
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.rope import angles
from posenc.positions.positions import Positions


class PolarPositionalEncoding(PositionalEncoding):
    """logit(m, n) = Σ_c softplus(q_mc) softplus(k_nc) cos((n − m) θ_c + δ_hc) / √d,  θ_c = base^(−c/d),  c = 0..d−1.

    PoPE, Gopalakrishnan et al. 2025 (https://arxiv.org/abs/2509.10534). Content sets magnitudes, and position sets
    phases; in RoPE content changes phases too. Each of the d components has its own frequency, so q and k are twice as
    wide inside attention, as (cos, sin). δ is a learned phase for each head and component. It starts at 0, and a clamp
    keeps it in [−2π, 0], as in PoPE-pytorch (https://github.com/lucidrains/PoPE-pytorch). A δ that steps above 0 gets
    no gradient and stays there. All layers share δ, as in x-transformers. Defined at every length.
    """

    source = "https://arxiv.org/abs/2509.10534"
    proof = ("PoPE-pytorch", "formula")
    size = "D"
    depends_on = frozenset({"distance"})

    def __init__(self, dim: int, num_heads: int, base: float = 10_000.0) -> None:
        super().__init__()
        checks.divisible(self, dim=dim, num_heads=num_heads)
        checks.number(self, low=1, open_low=True, base=base)
        self.dim, self.num_heads, self.base = dim, num_heads, base
        self.phase = nn.Parameter(torch.zeros(num_heads, dim // num_heads))

    def reset_parameters(self) -> None:
        """δ = 0."""
        nn.init.zeros_(self.phase)

    def rotate(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> tuple[Tensor, Tensor]:
        dtype, d = torch.promote_types(q.dtype, torch.float32), q.shape[-1]
        theta = self.base ** (-torch.arange(d, device=q.device, dtype=dtype) / d)
        angle = angles(positions, theta)  # (b, 1, N, d)

        def polar(content: Tensor, angle: Tensor) -> Tensor:
            magnitude = F.softplus(content)
            return torch.cat((magnitude * angle.cos(), magnitude * angle.sin()), dim=-1).to(content.dtype)

        return polar(q, angle), polar(k, angle + self.phase.clamp(-2 * math.pi, 0)[:, None])
