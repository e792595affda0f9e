"""DeBERTa's disentangled attention: content to position and position to content."""

import torch
from torch import Tensor, nn

from posenc import checks
from posenc.attention.bias import ByDistance, Dense
from posenc.attention.projection import Projection
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.scale import interpolate
from posenc.positions.apart import transposed
from posenc.positions.positions import Positions


class DisentangledPositionalEncoding(PositionalEncoding):
    """logit(m, n) = [q_m·k_n + q_m·K_r[δ] + k_n·Q_r[δ]] / √(3d),  δ = clip(m − n + K, 0, 2K − 1),  K = max_distance.

    DeBERTa, He et al. 2021, section 3.1 (https://arxiv.org/abs/2006.03654). K_r = P W_K and Q_r = P W_Q are projections
    of one table P of 2K vectors of width D. Deviations: the last term has δ(m, n), as in the authors' code (the paper
    has δ(n, m)); no biases. All layers share P, and each has its own W_K and W_Q, as in the paper. Start: P N(0,
    0.02²), W N(0, 1/D). The term of the keys makes the bias dense. Defined at every length. Distances beyond the
    trained length are untrained up to K; beyond K they share the vector at K.
    """

    source = "https://arxiv.org/abs/2006.03654"
    proof = ("transformers", "formula")
    size = "2·max_distance·D + 2·L·D²"
    depends_on = frozenset({"distance"})
    per_layer = True
    shared = frozenset({"table"})

    def __init__(self, dim: int, num_heads: int, max_distance: int = 128) -> None:
        super().__init__()
        checks.divisible(self, dim=dim, num_heads=num_heads)
        checks.positive(self, max_distance=max_distance)
        checks.tensor_fits(self, max_distance=2 * max_distance, dim=dim)
        self.dim, self.num_heads, self.max_distance = dim, num_heads, max_distance
        self.table = nn.Parameter(torch.empty(2 * max_distance, dim))
        self.to_key = Projection(dim, dim, bias=False)
        self.to_query = Projection(dim, dim, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the table from N(0, 0.02²)."""
        nn.init.normal_(self.table, std=0.02)

    def rotate(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> tuple[Tensor, Tensor]:
        return q * 3**-0.5, k

    def bias(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> Dense:
        K = self.max_distance
        scale = q.shape[-1] ** -0.5  # q holds 1/√3 since `rotate`

        def at(back: Tensor, projection: nn.Module) -> Tensor:
            """The projected vectors of m − n = back, (H, d, M)."""
            vectors = interpolate(projection(self.table), (back + K).clamp(0, 2 * K - 1))
            return vectors.unflatten(-1, (self.num_heads, -1)).permute(1, 2, 0).to(q.dtype)

        to_position = ByDistance((q * scale) @ at(-positions.distances, self.to_key))
        # Rows of `from_position` belong to keys n, its columns to the distances m − n of the queries: a transpose away.
        from_position = ByDistance((k * (scale * 3**-0.5)) @ at(positions.distances, self.to_query))
        return Dense(to_position.matrix(positions) + from_position.matrix(transposed(positions)).transpose(-1, -2))
