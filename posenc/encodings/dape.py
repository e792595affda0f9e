"""DAPE: a small network over the heads adapts a bias to the logits it is added to."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from posenc import checks
from posenc.bias import Dense
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.kerple import KerpleLogPositionalBias
from posenc.positions import Positions


class DAPEPositionalBias(PositionalEncoding):
    """logits = S + B + f([S; B]),  S = q kᵀ / √d,  B a KERPLE-log bias,  f: 2H → hidden → H with LeakyReLU, pairwise.

    Data-adaptive positional encoding, Zheng et al. 2024 (https://arxiv.org/abs/2405.14722), over KERPLE, one of the
    biases that the paper adapts; f as in the authors' code (hidden 32, slope 0.01, torch's start). It works on N²
    pairs. Causal there; f sees one pair at a time, so it leaks nothing and needs no mask. 2·H + hidden·(3·H + 1) + H
    parameters. Defined at every length.
    """

    depends_on = frozenset({"|distance|", "content"})

    def __init__(self, num_heads: int, hidden: int = 32) -> None:
        super().__init__()
        checks.positive(self, maximum=checks.WIDEST, num_heads=num_heads, hidden=hidden)
        self.num_heads, self.hidden = num_heads, hidden
        self.static = KerpleLogPositionalBias(num_heads)
        self.inner, self.outer = nn.Linear(2 * num_heads, hidden), nn.Linear(hidden, num_heads)

    def bias(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> Dense:
        S = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        B = self.static.bias(x, q, k, positions).matrix(positions).expand(S.shape)
        both = torch.cat((S, B), dim=1).movedim(1, -1).to(self.inner.weight.dtype)  # (B, N, N, 2H)
        return Dense(B + self.outer(F.leaky_relu(self.inner(both))).movedim(-1, 1).to(q.dtype))
