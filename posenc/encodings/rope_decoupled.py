"""Decoupled RoPE, as in multi-head latent attention: position has its own dimensions beside the content."""

import math

import torch
from torch import Tensor

from posenc.attention.projection import Projection
from posenc.encodings.rope import RotaryPositionalEncoding
from posenc.positions.positions import Positions


class DecoupledRotaryPositionalEncoding(RotaryPositionalEncoding):
    """logit(m, n) = (q_m·k_n + (R_m W_Q x_m)·(R_n W_K x_n)) / √(d + r),  R_p RoPE's turn, W_K one for all heads.

    DeepSeek-V2, 2024 (https://arxiv.org/abs/2405.04434): queries and keys carry only content, and r = `rotated`·d more
    dimensions carry position. Separate weights make them from the layer's input x: D → H·r for queries, and D → r for
    keys, which all heads share. Each layer has its own weights. DeepSeek has d = 128 and r = 64. Start: N(0, 1/fan in).
    Deviation: the low-rank compression of queries, keys and values is left out, because it does not concern position.
    Defined at every length.
    """

    source = "https://arxiv.org/abs/2405.04434"
    proof = ("transformers", "formula")
    size = "L·round(rotated·d)·D·(H + 1)"
    depends_on = frozenset({"distance", "content"})
    reads_input = True
    per_layer = True

    def __init__(
        self, dim: int, num_heads: int, base: float = 10_000.0, layout: str = "interleaved", rotated: float = 0.5
    ) -> None:
        super().__init__(dim, num_heads, base, layout, rotated)
        self.queries = Projection(dim, num_heads * self.width, bias=False)
        self.key = Projection(dim, self.width, bias=False)

    def rotate(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> tuple[Tensor, Tensor]:
        where = self.queries(x).to(q.dtype).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        shared = self.key(x).to(k.dtype)[:, None].expand(-1, self.num_heads, -1, -1)
        where, shared = super().rotate(x, where, shared, positions)
        d = q.shape[-1]
        return math.sqrt(d / (d + self.width)) * torch.cat((q, where), -1), torch.cat((k, shared), -1)
