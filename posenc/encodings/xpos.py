"""RoPE with a length that decays with distance."""

import torch
from torch import Tensor

from posenc import checks
from posenc.encodings.rope import RotaryPositionalEncoding, turn
from posenc.positions import Positions


class XPosPositionalEncoding(RotaryPositionalEncoding):
    """Pair i of RoPE's q_p times ζ_i^(p/scale), of its k_p times ζ_i^(−p/scale),  ζ_i = (2i/d + γ) / (1 + γ).

    xPos, Sun et al. 2022 (https://arxiv.org/abs/2212.10554): a pair's share of the logit decays as ζ_i^((m − n)/scale)
    with the distance to a key on the left. Causal by intent: for keys on the right it grows. Positions are counted from
    the middle of their range, which cancels in every logit and keeps the factors small, as in the authors' code
    (torchscale). 0 parameters. Defined at every length.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        gamma: float = 0.4,
        scale: float = 512.0,
        base: float = 10_000.0,
        layout: str = "interleaved",
    ) -> None:
        super().__init__(dim, num_heads, base, layout)
        checks.number(self, low=0, open_low=True, gamma=gamma, scale=scale)
        self.gamma, self.scale = gamma, scale

    def rotate(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> tuple[Tensor, Tensor]:
        dtype = torch.promote_types(q.dtype, torch.float32)
        place = positions.values.to(dtype)[:, None, :, None]
        angle = place * self.rates(positions, dtype)
        share = torch.arange(self.width // 2, device=q.device, dtype=dtype) * 2 / self.width
        zeta = (share + self.gamma) / (1 + self.gamma)
        decay = zeta ** ((place - positions.extent / 2) / self.scale)
        cos, sin = angle.cos(), angle.sin()
        return (
            turn(q, cos * decay, sin * decay, self.layout),
            turn(k, cos / decay, sin / decay, self.layout),
        )
