"""LaPE: one table of positions, normed anew for each layer."""

import torch
from torch import Tensor, nn

from posenc import checks
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.learned_absolute import read
from posenc.positions.positions import Positions


class LayerAdaptivePositionalEncoding(PositionalEncoding):
    """Attention of layer l reads LN(x)_p + LN_l(table[p]).

    LaPE, Yu et al. 2022 (https://arxiv.org/abs/2212.05262): position joins in every layer, through a LayerNorm of the
    layer's own, beside the normed tokens and outside the residual stream, so each layer sets how loud it is; the table
    is shared by all layers. Deviation: every norm sees the table (the authors' code feeds each layer's normed vectors
    to the next norm). Start: table N(0, 0.02²), all norms with gain `rms`. Undefined past max_length, which is an
    error; rows past the training length are defined but untrained.
    """

    source = "https://arxiv.org/abs/2212.05262"
    proof = ("formula",)
    size = "max_length·D + 2·D·L"
    depends_on = frozenset({"position"})
    inject = "attention"
    per_layer = True
    shared = frozenset({"table"})

    def __init__(self, dim: int, max_length: int, rms: float = 1.0) -> None:
        super().__init__()
        checks.tensor_fits(self, dim=dim, max_length=max_length)
        checks.number(self, low=0, open_low=True, rms=rms)
        self.dim, self.max_length, self.rms = dim, max_length, rms
        self.table = nn.Parameter(torch.empty(max_length, dim))
        self.norm = nn.LayerNorm(dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Table from N(0, 0.02²); the norm's gain is rms."""
        nn.init.normal_(self.table, std=0.02)
        nn.init.constant_(self.norm.weight, self.rms)

    def embed(self, x: Tensor, positions: Positions) -> Tensor:
        return x + self.norm(read(self, self.table, positions)).to(x.dtype)
