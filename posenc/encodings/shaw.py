"""Relative position representations: the product of the query and a learned vector for each clipped distance."""

import math

import torch
from torch import Tensor, nn

from posenc import checks
from posenc.attention.bias import ByQuery
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.scale import interpolate
from posenc.positions.positions import Positions


class ShawRelativePositionalEncoding(PositionalEncoding):
    """logit += q_m · a^K[clip(t, −K, K)] / √d;  with `values` also v_n += a^V[clip(t, −K, K)],  K = max_distance.

    Shaw, Uszkoreit & Vaswani 2018 (https://arxiv.org/abs/1803.02155); vectors of width d. Each layer has its own
    vectors, as in the paper's models. All heads share them, as in the paper's big model. In its base model each head
    has its own vectors too: `per_head`. The relative attention of the Music Transformer (Huang et al. 2018,
    https://arxiv.org/abs/1809.04281) also has vectors for each head; it is causal and adds nothing to values. Its
    skewing turns q·a of all distances into a matrix here (`posenc.attention.kernels.by_query`). Start: N(0, std²).
    Defined at every length. Distances beyond the trained length are untrained up to K; beyond K they share the vector
    at K.
    """

    source = "https://arxiv.org/abs/1803.02155"
    proof = ("formula",)
    size = "L·(1 + per_head·(H − 1))·(2·max_distance + 1)·d·(1 + values)"
    depends_on = frozenset({"distance"})
    per_layer = True

    def __init__(
        self,
        dim: int,
        num_heads: int,
        max_distance: int = 16,
        values: bool = True,
        per_head: bool = False,
        std: float = 0.02,
    ) -> None:
        super().__init__()
        checks.divisible(self, dim=dim, num_heads=num_heads)
        checks.tensor_fits(self, max_distance=max_distance, dim=dim)
        checks.boolean(self, values=values, per_head=per_head)
        checks.number(self, low=0, std=std)
        self.dim, self.num_heads, self.max_distance = dim, num_heads, max_distance
        self.values, self.per_head, self.std = values, per_head, std
        shape = (num_heads if per_head else 1, 2 * max_distance + 1, dim // num_heads)
        self.keys_table = nn.Parameter(torch.empty(shape))
        self.values_table = nn.Parameter(torch.empty(shape)) if values else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the vectors from N(0, std²)."""
        for table in self.parameters():
            nn.init.normal_(table, std=self.std)

    def bias(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> ByQuery:
        K = self.max_distance
        column = positions.distances.clamp(-K, K) + K
        keys = interpolate(self.keys_table, column).to(q.dtype)
        values = None if self.values_table is None else interpolate(self.values_table, column)
        reach = math.ceil(K / positions.scale) if positions.scale > 0 else None
        return ByQuery(q * q.shape[-1] ** -0.5, keys, values, reach=reach)
