"""Attention with linear biases: a fixed penalty that grows with distance."""

import math

import torch
from torch import Tensor

from posenc import checks
from posenc.attention.bias import ByDistance
from posenc.encodings.base import PositionalEncoding
from posenc.positions.positions import Positions


def slopes(num_heads: int) -> Tensor:
    """s_h = 2^(−8h/H), h = 1..H, if H is a power of two.

    Otherwise the rule of the authors' code (https://github.com/ofirpress/attention_with_linear_biases): first the
    slopes of the next lower power of two P, then every second slope of 2P, until there are H slopes.
    """
    power = 2 ** math.floor(math.log2(num_heads))

    def geometric(heads: int) -> Tensor:
        return 2.0 ** (-8.0 * torch.arange(1, heads + 1, dtype=torch.float64) / heads)

    return torch.cat((geometric(power), geometric(2 * power)[0::2][: num_heads - power])).float()


def harmonic(num_heads: int) -> Tensor:
    """s_h = 1/h, h = 1..H (Vasylenko et al. 2025, https://arxiv.org/abs/2506.16640)."""
    return 1 / torch.arange(1, num_heads + 1, dtype=torch.float32)


SLOPES = {"geometric": slopes, "harmonic": harmonic}


class SymmetricALiBi(PositionalEncoding):
    """bias[h](t) = −s_h · |t|,  s_h = 2^(−8h/H).

    ALiBi, Press, Smith & Lewis 2022 (https://arxiv.org/abs/2108.12409). Under a causal mask this is the paper's form.
    In a bidirectional encoder it is the symmetric extension, and the model cannot tell left from right: a sequence and
    its mirror image give mirrored outputs, hence equal logits after mean pooling. `slopes`: geometric (the paper's) or
    harmonic (1/h). Defined at every length.
    """

    source = "https://arxiv.org/abs/2108.12409"
    proof = ("x-transformers",)
    depends_on = frozenset({"|distance|"})

    def __init__(self, num_heads: int, slopes: str = "geometric") -> None:
        super().__init__()
        checks.positive(self, num_heads=num_heads)
        checks.one_of(self, SLOPES, slopes=slopes)
        self.num_heads, self.slopes = num_heads, slopes

    def penalty(self, t: Tensor) -> Tensor:
        """The penalised distance: |t|."""
        return t.abs()

    def bias(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> ByDistance:
        penalty = self.penalty(positions.distances)
        table = -SLOPES[self.slopes](self.num_heads).to(penalty.device)[:, None] * penalty
        return ByDistance(table[None, :, None])


class CausalALiBi(SymmetricALiBi):
    """bias[h](t) = s_h · t  for t ≤ 0; the causal mask hides the rest.

    The paper's causal form (https://arxiv.org/abs/2108.12409), written without the absolute value. Without a causal
    mask it would reward keys far to the right. Therefore it refuses `causal: false`. Defined at every length.
    """

    source = "https://arxiv.org/abs/2108.12409"
    proof = ("transformers",)
    depends_on = frozenset({"distance"})
    causal_only = True

    def __init__(self, num_heads: int, causal: bool) -> None:
        super().__init__(num_heads)
        checks.under_a_causal_mask(
            self, causal=causal, otherwise=", or encoding=alibi for the symmetric bidirectional form"
        )
        self.causal = causal

    def penalty(self, t: Tensor) -> Tensor:
        """The penalised distance: −t, which is positive for keys on the left."""
        return -t
