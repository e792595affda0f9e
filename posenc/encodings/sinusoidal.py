"""Sinusoids added to the token embeddings."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from posenc import checks
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.scale import Rms, check_rms
from posenc.positions.positions import Positions

LAYOUTS = ("interleaved", "half_split")


def sinusoids(
    at: Float[Tensor, "*s"], dim: int, base: float = 10_000.0, layout: str = "half_split"
) -> Float[Tensor, "*s D"]:
    """sin(p·ω_i) and cos(p·ω_i), ω_i = base^(−2i/D), i < D/2, for each position p; in pairs, or all sines first."""
    rate = base ** (-torch.arange(0, dim, 2, device=at.device, dtype=torch.float32) / dim)
    angle = at[..., None] * rate
    if layout == "half_split":
        return torch.cat((angle.sin(), angle.cos()), dim=-1)
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(-2)


class SinusoidalPositionalEncoding(PositionalEncoding):
    """x_p + g · PE[p],  PE[p, 2i] = sin(p · ω_i),  PE[p, 2i+1] = cos(p · ω_i),  ω_i = base^(−2i/D).

    Vaswani et al. 2017, section 3.5 (https://arxiv.org/abs/1706.03762). Deviation: g = rms·√2, so that the vectors have
    the root mean square of the token embeddings; `rms: raw` is the paper's g = 1 (rms 0.707; the paper scales its token
    embeddings by √D instead). `layout: half_split`, the order of the authors' code (tensor2tensor), has all sines
    before all cosines: a permutation of D. Defined at every length.
    """

    source = "https://arxiv.org/abs/1706.03762"
    proof = ("transformers",)
    depends_on = frozenset({"position"})

    def __init__(self, dim: int, rms: Rms = 1.0, base: float = 10_000.0, layout: str = "interleaved") -> None:
        super().__init__()
        checks.number(self, low=1, open_low=True, base=base)
        checks.one_of(self, LAYOUTS, layout=layout)
        check_rms(self, rms)
        checks.even(self, "pairs sines with cosines", dim=dim)
        self.dim, self.rms, self.base, self.layout = dim, rms, base, layout

    def embed(self, x: Tensor, positions: Positions) -> Tensor:
        gain = 1.0 if isinstance(self.rms, str) else self.rms * math.sqrt(2)
        return x + (gain * sinusoids(positions.values, self.dim, self.base, self.layout)).to(x.dtype)
