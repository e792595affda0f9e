"""T5's relative position bias: learned logits for logarithmically growing buckets of distance."""

import math

import torch
from torch import Tensor, nn

from posenc import checks
from posenc.attention.bias import ByDistance
from posenc.checks import ConfigError
from posenc.encodings.base import PositionalEncoding
from posenc.positions.positions import Positions


class T5RelativePositionalBias(PositionalEncoding):
    """bias[h](t) = table[h, bucket(t)],  t = key − query.

    Raffel et al. 2020, section 2.1 (https://arxiv.org/abs/1910.10683). Bidirectional: half of the buckets for each
    side, t > 0 in the upper half. Within a side of S buckets, r = |t| < S/2 has a bucket each; then
    S/2 + ⌊ln(r / (S/2)) / ln(max_distance / (S/2)) · S/2⌋, at most S − 1. Causal: one side, r = max(−t, 0).
    Deviations: starts at zero, so step 0 is exactly NoPE (T5: N(0, 1/D)), and the logits it is added to are scaled by
    1/√d (T5 does not scale). All layers share the table, as in T5. Defined at every length: all distances past
    max_distance share the last bucket.
    """

    source = "https://arxiv.org/abs/1910.10683"
    proof = ("transformers", "x-transformers")
    size = "H·num_buckets"
    depends_on = frozenset({"distance"})

    def __init__(self, num_heads: int, causal: bool, num_buckets: int = 32, max_distance: int = 128) -> None:
        super().__init__()
        checks.tensor_fits(self, num_heads=num_heads, num_buckets=num_buckets)
        checks.positive(self, max_distance=max_distance)
        checks.boolean(self, causal=causal)
        side = num_buckets if causal else num_buckets // 2
        if num_buckets % (2 if causal else 4) or max_distance <= side // 2:
            raise ConfigError(
                f"{type(self).__name__}: num_buckets must be a multiple of {2 if causal else 4} and max_distance above "
                f"{side // 2}, got num_buckets={num_buckets}, max_distance={max_distance}.",
                "num_buckets", "max_distance",
            )  # fmt: skip
        self.num_heads, self.causal, self.num_buckets, self.max_distance = num_heads, causal, num_buckets, max_distance
        self.side = side
        self.table = nn.Parameter(torch.zeros(num_heads, num_buckets))

    def reset_parameters(self) -> None:
        """Zero: no position at step 0."""
        nn.init.zeros_(self.table)

    def bucket(self, t: Tensor) -> Tensor:
        """The bucket of each signed distance."""
        r = (-t).clamp(min=0) if self.causal else t.abs()
        exact = self.side // 2
        log = torch.log(r.clamp(min=1) / exact) / math.log(self.max_distance / exact)
        bucket = torch.where(
            r < exact, r, (exact + (log * (self.side - exact)).floor()).clamp(max=self.side - 1)
        ).long()
        return bucket if self.causal else bucket + self.side * (t > 0)

    def bias(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> ByDistance:
        table = self.table[:, self.bucket(positions.distances)]
        return ByDistance(table[None, :, None])
