"""One layer of the encoder: attention and a feed-forward network, with norms and residual connections around them."""

from torch import Tensor, nn

from posenc.attention.layer import Projection, SelfAttention
from posenc.encodings.base import PositionalEncoding
from posenc.positions.positions import Positions


class Block(nn.Module):
    """x ← x + Attention(LN x);  x ← x + MLP(LN x), and the variants of it.

    norm      pre: as above.  post: x ← LN(x + f(x)).  none: no normalisation
    residual  strength γ of the skip connection: x ← γ x + f(x); true is 1, and false or 0 leaves the x out
    mlp_ratio 0 leaves the MLP out
    inject    whether the encoding's `embed` runs on what attention reads
    """

    def __init__(
        self,
        attention: SelfAttention,
        dim: int,
        mlp_ratio: float,
        norm: str,
        residual: bool | float,
        dropout: float,
        inject: bool,
    ) -> None:
        super().__init__()
        self.norm, self.residual, self.inject = norm, float(residual), inject
        self.branches = nn.ModuleList([attention])
        if mlp_ratio:
            hidden = round(mlp_ratio * dim)
            self.branches.append(nn.Sequential(Projection(dim, hidden), nn.GELU(), Projection(hidden, dim)))
        self.norms = nn.ModuleList(nn.Identity() if norm == "none" else nn.LayerNorm(dim) for _ in self.branches)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, encoding: PositionalEncoding, positions: Positions) -> Tensor:
        """One block."""
        for branch, norm in zip(self.branches, self.norms, strict=True):
            y = norm(x) if self.norm == "pre" else x
            if isinstance(branch, SelfAttention):
                y = encoding.embed(y, positions) if self.inject else y
                y = branch(y, encoding, positions)
            else:
                y = branch(y)
            y = self.dropout(y)
            y = (x if self.residual == 1 else self.residual * x) + y if self.residual else y.to(x.dtype)
            x = norm(y) if self.norm == "post" else y
        return x
