"""One learned logit per head and clipped distance."""

import torch
from torch import Tensor, nn

from posenc import checks
from posenc.attention.bias import ByDistance
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.scale import interpolate
from posenc.positions.positions import Positions


class LearnedRelativePositionalBias(PositionalEncoding):
    """bias[h](t) = table[h, clip(t, −K, K)],  t = key − query,  K = max_distance.

    The scalar form of Shaw, Uszkoreit & Vaswani 2018 (https://arxiv.org/abs/1803.02155): a logit, not a vector, for
    each clipped distance. Distances are clipped, without T5's buckets. It starts at zero, so step 0 is exactly NoPE.
    Deviation: all layers share the table (Shaw: each layer has its own), so that only the grouping of distances differs
    from T5's bias; model.encoding_per_layer=true gives each layer its own table. Defined at every length. Distances
    beyond the trained length are untrained (zero) up to K; beyond K they share the logit at K.
    """

    source = "https://arxiv.org/abs/1803.02155"
    proof = ("formula",)
    size = "H·(2·max_distance + 1)"
    depends_on = frozenset({"distance"})

    def __init__(self, num_heads: int, max_distance: int = 128) -> None:
        super().__init__()
        checks.tensor_fits(self, num_heads=num_heads, max_distance=max_distance)
        self.num_heads, self.max_distance = num_heads, max_distance
        self.table = nn.Parameter(torch.zeros(num_heads, 2 * max_distance + 1))

    def reset_parameters(self) -> None:
        """Zero: no position at step 0."""
        nn.init.zeros_(self.table)

    def bias(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> ByDistance:
        column = positions.distances.clamp(-self.max_distance, self.max_distance) + self.max_distance
        table = interpolate(self.table[..., None], column)[..., 0]  # (H, M)
        return ByDistance(table[None, :, None])
