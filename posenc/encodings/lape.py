"""LaPE: one table of positions, with a norm of its own in each layer."""

import torch
from torch import Tensor, nn

from posenc import checks
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.learned_absolute import read
from posenc.positions.positions import Positions


class LayerAdaptivePositionalEncoding(PositionalEncoding):
    """Attention of layer l reads LN(x)_p + LN_l(table[p]).

    LaPE, Yu et al. 2022 (https://arxiv.org/abs/2212.05262): in every layer the position vector is added to the normed
    tokens, outside the residual. Each layer has its own LayerNorm of the position vector, so it learns its scale. All
    layers share the table. Deviation: every norm reads the table (in the authors' code the next norm reads the normed
    vectors of the layer before). Start: table N(0, 0.02²), all norms with gain `rms`. Undefined past max_length, which
    is an error; rows past the trained length are defined but untrained.
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
