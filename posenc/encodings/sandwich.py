"""Sandwich: the inner product of sinusoids as a bias."""

import torch
from torch import Tensor

from posenc import checks
from posenc.attention.bias import ByDistance
from posenc.encodings.base import PositionalEncoding
from posenc.positions.positions import Positions


class SandwichPositionalBias(PositionalEncoding):
    """bias[h](t) = H / (8h) · Σ_{i < D̄/2} cos(t · base^(−2i/D̄)),  h = 1..H.

    Chi et al. 2023 (https://arxiv.org/abs/2212.10356): the inner product of two sinusoidal encodings of width
    D̄ = `width`, divided by a compression ratio 8h/H for each head. The paper's models are causal. The bias is
    symmetric, so a bidirectional encoder cannot tell left from right. The sum begins at i = 0, the fastest wave of the
    sinusoidal encoding (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762). NVIDIA NeMo's implementation takes
    i = 1..D̄/2, so that each wave is slower by base^(2/D̄), 1.15 at the defaults. It also subtracts D̄/2 from the sum,
    which does not change a softmax. Defined at every length.
    """

    source = "https://arxiv.org/abs/2212.10356"
    proof = ("formula",)
    depends_on = frozenset({"|distance|"})

    def __init__(self, num_heads: int, width: int = 128, base: float = 10_000.0) -> None:
        super().__init__()
        checks.positive(self, num_heads=num_heads)
        checks.even(self, "pairs sines with cosines", width=width)
        checks.positive(self, maximum=checks.MAX_WIDTH, width=width)
        checks.number(self, low=1, open_low=True, base=base)
        self.num_heads, self.width, self.base = num_heads, width, base

    def bias(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> ByDistance:
        t = positions.distances
        rate = self.base ** (-torch.arange(0, self.width, 2, device=t.device, dtype=t.dtype) / self.width)
        product = (t[:, None] * rate).cos().sum(-1)
        ratio = torch.arange(1, self.num_heads + 1, device=t.device) * 8 / self.num_heads
        return ByDistance((product / ratio[:, None])[None, :, None])
