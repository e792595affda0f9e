"""A small network from position to vector, added to the token embeddings."""

import torch
from torch import Tensor, nn

from posenc import checks
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.scale import Rms, check_rms, in_float32
from posenc.positions.positions import Positions


class ContinuousPositionalEncoding(PositionalEncoding):
    """x_p + MLP(p / period),  MLP: 1 → hidden → hidden → D with GELU.

    A learned function of the position itself, similar to Liu et al. 2020 (FLOATER, https://arxiv.org/abs/2003.09229)
    without its differential equation. Start: the units of the first layer bend at places spread over [0, period), with
    slopes N(0, sharpness²). The second layer is N(0, 2/hidden). The last layer is centred and scaled to `rms` over the
    first `period` positions, so that neighbouring positions differ from step 0 on. `rms: raw` is the start in the note
    from which posenc started: weights N(0, 0.02²), biases 0. With its period of 512 the output varies by less than
    0.1 % of the token embeddings, and the model starts as NoPE. Defined at every length; past the trained length the
    network extrapolates almost linearly.
    """

    source = "https://arxiv.org/abs/2003.09229"
    proof = ("formula",)
    size = "hidden·(hidden + D + 3) + D"
    depends_on = frozenset({"position"})

    def __init__(
        self, dim: int, hidden: int = 64, period: float = 64.0, sharpness: float = 16.0, rms: Rms = 1.0
    ) -> None:
        super().__init__()
        checks.positive(self, maximum=checks.MAX_WIDTH, dim=dim, hidden=hidden)
        checks.number(self, low=0, open_low=True, period=period, sharpness=sharpness)
        checks.number(self, low=0, high=2**24, period=period)
        checks.tensor_fits(self, hidden=hidden, period=max(2, round(period)))
        check_rms(self, rms)
        self.dim, self.hidden, self.period, self.sharpness, self.rms = dim, hidden, period, sharpness, rms
        self.inner = nn.Linear(1, hidden)
        self.middle = nn.Linear(hidden, hidden)
        self.outer = nn.Linear(hidden, dim)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Spread bends over [0, period) and scale the output to `rms` there; or use the raw start."""
        for layer in (self.inner, self.middle, self.outer):
            nn.init.zeros_(layer.bias)
            nn.init.normal_(layer.weight, std=0.02)
        if isinstance(self.rms, str):
            return
        nn.init.normal_(self.inner.weight, std=self.sharpness)
        self.inner.bias.copy_(-self.inner.weight[:, 0] * torch.rand_like(self.inner.bias))
        nn.init.normal_(self.middle.weight, std=(2 / self.middle.in_features) ** 0.5)
        nn.init.normal_(self.outer.weight, std=self.outer.in_features**-0.5)
        start = self._vectors(torch.arange(max(2, round(self.period)), dtype=torch.float32))
        gain = self.rms / (start - start.mean(0)).pow(2).mean().sqrt()
        self.outer.weight.mul_(gain)
        self.outer.bias.copy_(-gain * start.mean(0))

    def _vectors(self, position: Tensor) -> Tensor:
        x = (position / self.period)[..., None]
        return in_float32((self.inner, nn.GELU(), self.middle, nn.GELU(), self.outer), x)

    def embed(self, x: Tensor, positions: Positions) -> Tensor:
        return x + self._vectors(positions.values).to(x.dtype)
