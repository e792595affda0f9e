"""Transformer-XL's relative attention: products of the query with sinusoids of distance, and two global biases."""

import torch
from torch import Tensor, nn

from posenc import checks
from posenc.attention.bias import ByQuery
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.sinusoidal import sinusoids
from posenc.positions.positions import Positions


class TransformerXLPositionalEncoding(PositionalEncoding):
    """logit(m, n) = [(q_m + u)·k_n + (q_m + v)·W R(m − n)] / √d,  R(s) the sinusoids of s in width D, sines first.

    Dai et al. 2019, section 3.3 (https://arxiv.org/abs/1901.02860). u and v (a vector for each head) and W (D × D,
    split into heads) are learned. As in the authors' code (https://github.com/kimiyoung/transformer-xl) each layer has
    its own W, and all layers share u and v. Start: u = v = 0 (in that code: N(0, 0.02²)), W N(0, 1/D). Defined at every
    length.
    """

    source = "https://arxiv.org/abs/1901.02860"
    proof = ("transformers", "formula")
    size = "L·D² + 2·D"
    depends_on = frozenset({"distance"})
    per_layer = True
    shared = frozenset({"u", "v"})

    def __init__(self, dim: int, num_heads: int, base: float = 10_000.0) -> None:
        super().__init__()
        checks.divisible(self, dim=dim, num_heads=num_heads)
        checks.number(self, low=1, open_low=True, base=base)
        checks.even(self, "pairs sines with cosines", dim=dim)
        self.dim, self.num_heads, self.base = dim, num_heads, base
        self.weight = nn.Parameter(torch.empty(dim, dim))
        self.u = nn.Parameter(torch.empty(num_heads, dim // num_heads))
        self.v = nn.Parameter(torch.empty(num_heads, dim // num_heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """W from N(0, 1/D), u = v = 0."""
        nn.init.normal_(self.weight, std=self.dim**-0.5)
        nn.init.zeros_(self.u)
        nn.init.zeros_(self.v)

    def rotate(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> tuple[Tensor, Tensor]:
        return q + self.u[:, None].to(q.dtype), k

    def bias(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> ByQuery:
        query = q + (self.v - self.u)[:, None].to(q.dtype)  # `rotate` has added u to q
        R = sinusoids(-positions.distances, self.dim, self.base).to(self.weight.dtype)
        key = (R @ self.weight.T).unflatten(-1, (self.num_heads, -1)).transpose(0, 1)  # (H, M, d)
        return ByQuery(query * q.shape[-1] ** -0.5, key.to(q.dtype))
