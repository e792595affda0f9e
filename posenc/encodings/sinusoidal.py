"""Sinusoids added to the token embeddings."""

import math

import torch
from torch import Tensor

from posenc import checks
from posenc.checks import ConfigError
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.scale import Rms, check_rms
from posenc.positions import Positions


class SinusoidalPositionalEncoding(PositionalEncoding):
    """x_p + g · PE[p],  PE[p, 2i] = sin(p · ω_i),  PE[p, 2i+1] = cos(p · ω_i),  ω_i = base^(−2i/D).

    Vaswani et al. 2017, section 3.5 (https://arxiv.org/abs/1706.03762). Deviation: g = rms·√2, so that the vectors have
    the root mean square of the token embeddings; `rms: raw` is the paper's g = 1 (rms 0.707; the paper scales its token
    embeddings by √D instead). Interleaved layout. 0 parameters. Defined at every length.
    """

    def __init__(self, dim: int, rms: Rms = 1.0, base: float = 10_000.0) -> None:
        super().__init__()
        checks.positive(self, dim=dim)
        checks.number(self, low=1, open_low=True, base=base)
        check_rms(self, rms)
        if dim % 2:
            raise ConfigError(f"{type(self).__name__} pairs sines with cosines: dim must be even, got {dim}.")
        self.dim, self.base = dim, base
        self.gain = 1.0 if rms == "raw" else rms * math.sqrt(2)

    def embed(self, x: Tensor, positions: Positions) -> Tensor:
        rate = self.base ** (-torch.arange(0, self.dim, 2, device=x.device, dtype=torch.float32) / self.dim)
        angle = positions.values[..., None] * rate
        vectors = torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(-2)
        return x + (self.gain * vectors).to(x.dtype)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, gain={self.gain:g}, base={self.base:g}"
