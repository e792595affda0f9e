"""A small network from signed distance to logits."""

import torch
from torch import Tensor, nn

from posenc import checks
from posenc.attention.bias import ByDistance
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.scale import in_float32
from posenc.positions.positions import Positions

DISTANCES = ("linear", "log")


class DynamicPositionalBias(PositionalEncoding):
    """bias[h](t) = MLP_h(g(t)),  MLP: 1 → hidden → hidden → H with SiLU,  t = n − m.

    Dynamic position bias, CrossFormer (Wang et al. 2021, https://arxiv.org/abs/2108.00154), for one dimension and in
    the form of x-transformers (two hidden layers, no LayerNorm). `distance: linear` is g(t) = t / unit, `log` is
    g(t) = sign(t) ln(1 + |t|) / unit, the log-spaced coordinates of Swin v2 (Liu et al. 2021,
    https://arxiv.org/abs/2111.09883). Deviation: `unit` scales distances to the usual size of a network's input
    (CrossFormer: 1; Swin v2: its own scale, and 16σ around the output). Each layer has its own network, as in the code
    of CrossFormer and of Swin v2 (x-transformers shares one). It is computed at 2N − 1 points, not at N².
    Defined at every length; past the trained length the network extrapolates.
    """

    source = "https://arxiv.org/abs/2108.00154"
    proof = ("x-transformers",)
    size = "L·(hidden·(hidden + 3) + H·(hidden + 1))"
    depends_on = frozenset({"distance"})
    per_layer = True

    def __init__(self, num_heads: int, hidden: int = 32, distance: str = "linear", unit: float = 8.0) -> None:
        super().__init__()
        checks.positive(self, maximum=checks.MAX_WIDTH, num_heads=num_heads, hidden=hidden)
        checks.one_of(self, DISTANCES, distance=distance)
        checks.number(self, low=0, open_low=True, unit=unit)
        self.num_heads, self.hidden, self.distance, self.unit = num_heads, hidden, distance, unit
        self.mlp = nn.Sequential(
            nn.Linear(1, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, num_heads)
        )

    def bias(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> ByDistance:
        t = positions.distances
        g = t if self.distance == "linear" else t.sign() * torch.log1p(t.abs())
        table = in_float32(self.mlp, (g / self.unit)[:, None]).T
        return ByDistance(table[None, :, None])
