"""TUPE: positions attend to positions, with separate projections."""

import torch
from torch import Tensor, nn

from posenc import checks
from posenc.attention.bias import ByDistance
from posenc.attention.projection import Projection
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.learned_absolute import read
from posenc.encodings.t5 import T5RelativePositionalBias
from posenc.positions.positions import Positions


class UntiedPositionalEncoding(PositionalEncoding):
    """logit(m, n) = [q_m·k_n + (p_m U_Q)·(p_n U_K)] / √(2d) + b(t),  t = n − m.

    TUPE-R, Ke, He & Liu 2021 (https://arxiv.org/abs/2006.15595). p = LN(table): a learned vector for each position,
    normalised as in the authors' code; U_Q and U_K are D × D, split into heads; b is T5's bias. All layers share
    these, as in the code (https://github.com/guolinke/TUPE). Deviation: the paper's separate treatment of [CLS]
    is left out. Start: table N(0, 0.02²), U N(0, 1/D), b 0. Undefined past max_length, which is an error; rows past the
    trained length are defined but untrained.
    """

    source = "https://arxiv.org/abs/2006.15595"
    proof = ("formula",)
    size = "max_length·D + 2·D + 2·D² + 32·H"
    depends_on = frozenset({"position"})

    def __init__(self, dim: int, num_heads: int, causal: bool, max_length: int = 512) -> None:
        super().__init__()
        checks.divisible(self, dim=dim, num_heads=num_heads)
        checks.tensor_fits(self, dim=dim, max_length=max_length)
        self.dim, self.num_heads, self.causal, self.max_length = dim, num_heads, causal, max_length
        self.table = nn.Parameter(torch.empty(max_length, dim))
        self.norm = nn.LayerNorm(dim)
        self.to_query = Projection(dim, dim, bias=False)
        self.to_key = Projection(dim, dim, bias=False)
        self.relative = T5RelativePositionalBias(num_heads, causal)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the table from N(0, 0.02²)."""
        nn.init.normal_(self.table, std=0.02)

    def rotate(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> tuple[Tensor, Tensor]:
        p = self.norm(read(self, self.table, positions))  # (b, N, D)

        def beside(content: Tensor, projection: nn.Module) -> Tensor:
            heads = projection(p).unflatten(-1, (self.num_heads, -1)).transpose(1, 2).to(content.dtype)
            return torch.cat((content, heads.expand(content.shape[0], -1, -1, -1)), dim=-1)

        return beside(q, self.to_query) * 2**-0.5, beside(k, self.to_key)

    def bias(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> ByDistance:
        return self.relative.bias(x, q, k, positions)
