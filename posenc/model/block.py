"""One layer of the encoder: attention and a feed-forward network, with norms and residual connections around them."""

from torch import Tensor, nn

from posenc.attention.cache import LayerCache
from posenc.attention.layer import SelfAttention
from posenc.attention.projection import EPS
from posenc.encodings.base import PositionalEncoding
from posenc.model.mlp import MLP
from posenc.positions.positions import Positions

NORMS = ("pre", "post", "none", "peri", "reordered")
FINAL = ("pre", "peri", "reordered")
"""Norms that never normalise the residual stream, so that the read-out needs a norm."""


def normalisation(dim: int, rms: bool) -> nn.Module:
    """LayerNorm, or RMSNorm, Zhang & Sennrich 2019 (https://arxiv.org/abs/1910.07467)."""
    return nn.RMSNorm(dim, EPS) if rms else nn.LayerNorm(dim)


class Block(nn.Module):
    """x ← x + Attention(LN x);  x ← x + MLP(LN x), and the variants of it.

    norm      pre: as above.  post: x ← LN(x + f(x)).  none: no normalisation.  peri: x ← x + LN f(LN x), Kim et al.
              2025 (https://arxiv.org/abs/2502.02732), Gemma 2 and 3.  reordered: x ← x + LN f(x), OLMo 2
              (https://arxiv.org/abs/2501.00656), EXAONE 4
    rms_norm  whether LN is RMSNorm, not LayerNorm
    residual  strength γ of the skip connection: x ← γ x + f(x); true is 1, and false or 0 leaves the x out
    hidden    width of the MLP; 0 leaves the MLP out
    mlp_gate  silu or gelu: the MLP is gated (see posenc.model.mlp).  None: it is not
    inject    whether the encoding's `embed` runs on what attention reads
    """

    def __init__(
        self,
        attention: SelfAttention,
        dim: int,
        hidden: int,
        norm: str,
        residual: bool | float,
        dropout: float,
        inject: bool,
        rms_norm: bool = False,
        mlp_gate: str | None = None,
    ) -> None:
        super().__init__()
        self.norm, self.residual, self.inject = norm, float(residual), inject
        self.branches = nn.ModuleList([attention])
        if hidden:
            self.branches.append(MLP(dim, hidden, mlp_gate))
        self.norms, self.norms_after = (
            nn.ModuleList(normalisation(dim, rms_norm) if here else nn.Identity() for _ in self.branches)
            for here in (norm != "none", norm == "peri")
        )
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, encoding: PositionalEncoding, positions: Positions, cache: LayerCache | None = None
    ) -> Tensor:
        """Run the block. With a cache, x are the tokens after those in the cache."""
        for branch, norm, after in zip(self.branches, self.norms, self.norms_after, strict=True):
            y = norm(x) if self.norm in ("pre", "peri") else x
            if isinstance(branch, SelfAttention):
                y = encoding.embed(y, positions) if self.inject else y
                y = branch(y, encoding, positions, cache)
            else:
                y = branch(y)
            if self.norm in ("peri", "reordered"):  # in the dtype of x, even if projections are in bfloat16
                y = (after if self.norm == "peri" else norm)(y.to(x.dtype))
            y = self.dropout(y)
            y = (x if self.residual == 1 else self.residual * x) + y if self.residual else y.to(x.dtype)
            x = norm(y) if self.norm == "post" else y
        return x
