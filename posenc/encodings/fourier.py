"""Learnable Fourier features of the position, added to the token embeddings."""

import torch
from torch import Tensor, nn

from posenc import checks
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.scale import Rms, check_rms, in_float32
from posenc.positions.positions import Positions

START_POSITIONS = 64
"""The number of positions over which the initial output is measured."""


class LearnedFourierPositionalEncoding(PositionalEncoding):
    """x_p + MLP([cos(p w), sin(p w)] / √F),  w a vector of F/2 learned frequencies, MLP: F → hidden → D with GELU.

    Learnable Fourier features, Li et al. 2021 (https://arxiv.org/abs/2106.02795), for positions of one dimension in one
    group. F = `features`; w starts at N(0, γ⁻²), so positions closer than γ are similar at the start.
    Deviation: the last layer is then centred and scaled to `rms` over the first 64 positions; `rms: raw` leaves torch's
    default start. Defined at every length.
    """

    source = "https://arxiv.org/abs/2106.02795"
    proof = ("formula",)
    size = "features/2 + hidden·(features + 1) + D·(hidden + 1)"
    depends_on = frozenset({"position"})

    def __init__(self, dim: int, features: int = 64, hidden: int = 64, gamma: float = 10.0, rms: Rms = 1.0) -> None:
        super().__init__()
        checks.positive(self, maximum=checks.MAX_WIDTH, dim=dim, hidden=hidden)
        checks.even(self, "pairs sines with cosines", features=features)
        checks.positive(self, maximum=checks.MAX_WIDTH, features=features)
        checks.number(self, low=0, open_low=True, gamma=gamma)
        check_rms(self, rms)
        self.dim, self.features, self.hidden, self.gamma, self.rms = dim, features, hidden, gamma, rms
        self.frequencies = nn.Parameter(torch.empty(features // 2))
        self.inner, self.outer = nn.Linear(features, hidden), nn.Linear(hidden, dim)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Frequencies from N(0, γ⁻²), layers as torch draws them, the output scaled to `rms`."""
        nn.init.normal_(self.frequencies, std=1 / self.gamma)
        self.inner.reset_parameters()
        self.outer.reset_parameters()
        if not isinstance(self.rms, str):
            start = self._vectors(torch.arange(START_POSITIONS, device=self.frequencies.device))
            gain = self.rms / (start - start.mean(0)).pow(2).mean().sqrt()
            self.outer.weight.mul_(gain)
            self.outer.bias.copy_(gain * (self.outer.bias - start.mean(0)))

    def _vectors(self, position: Tensor) -> Tensor:
        dtype = torch.promote_types(self.frequencies.dtype, torch.float32)
        angle = position[..., None].to(dtype) * self.frequencies
        features = torch.cat((angle.cos(), angle.sin()), dim=-1) * self.features**-0.5
        return in_float32((self.inner, nn.GELU(), self.outer), features)

    def embed(self, x: Tensor, positions: Positions) -> Tensor:
        return x + self._vectors(positions.values).to(x.dtype)
