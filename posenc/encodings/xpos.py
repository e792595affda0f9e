"""RoPE with a factor that decays with distance."""

import math

import torch
from torch import Tensor

from posenc import checks
from posenc.checks import UndefinedAtLength
from posenc.encodings.rope import RotaryPositionalEncoding, turn
from posenc.positions.positions import Positions

LARGEST_EXPONENT = 80.0
"""e^80 is 5e34; the largest float32 number is 3e38."""


class XPosPositionalEncoding(RotaryPositionalEncoding):
    """Pair i of RoPE's q_p times ζ_i^(p/scale), of its k_p times ζ_i^(−p/scale),  ζ_i = (2i/r + γ) / (1 + γ).

    xPos, Sun et al. 2022 (https://arxiv.org/abs/2212.10554): a pair's share of the logit decays as ζ_i^((m − n)/scale)
    with the distance to a key on the left. It is meant for causal models: for keys on the right the share grows.
    Positions are counted from the middle of each sequence, as in the authors' code (torchscale). This cancels in every
    logit and keeps the factors small. r = d, or the share `rotated` of d; the rest does not turn or decay. Defined at
    every length whose factors fit into float32, 65,000 positions by default; a longer one is an error.
    """

    source = "https://arxiv.org/abs/2212.10554"
    proof = ("rotary-embedding-torch", "x-transformers", "formula")

    def __init__(
        self,
        dim: int,
        num_heads: int,
        gamma: float = 0.4,
        scale: float = 512.0,
        base: float = 10_000.0,
        layout: str = "interleaved",
        rotated: float | None = None,
    ) -> None:
        super().__init__(dim, num_heads, base, layout, rotated)
        checks.number(self, low=0, open_low=True, gamma=gamma, scale=scale)
        self.gamma, self.scale = gamma, scale

    def rotate(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> tuple[Tensor, Tensor]:
        dtype = torch.promote_types(q.dtype, torch.float32)
        place = positions.values.to(dtype)[:, None, :, None]
        middle = (place.amin(-2, keepdim=True) + place.amax(-2, keepdim=True)) / 2
        share = torch.arange(self.width // 2, device=q.device, dtype=dtype) * 2 / self.width
        zeta = (share + self.gamma) / (1 + self.gamma)
        self.check_reach(positions)
        decay = zeta ** ((place - middle) / self.scale)
        angle = self.angle(positions, dtype)
        cos, sin = angle.cos(), angle.sin()
        return turn(q, cos * decay, sin * decay, self.layout), turn(k, cos / decay, sin / decay, self.layout)

    def check_reach(self, positions: Positions) -> None:
        """Raise ConfigError if positions are so far apart that the factors, or products with them, leave float32."""
        apart = (positions.length - 1) * positions.scale if positions.consecutive else positions.extent
        most = 2 * LARGEST_EXPONENT * self.scale / math.log((1 + self.gamma) / self.gamma)
        if apart > most:
            raise UndefinedAtLength(
                f"{type(self).__name__}: positions {apart:g} apart exceed float32, at most {most:.0f} are possible; "
                "raise encoding.scale."
            )
