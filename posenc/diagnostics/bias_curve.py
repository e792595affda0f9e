"""The bias of an encoding as a function of the distance between query and key."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from posenc.attention.bias import ByDistance
from posenc.attention.record import LayerRecord
from posenc.positions.positions import Positions


@dataclass(frozen=True)
class Curve:
    """The bias of one layer: distances (M,), ascending, and the logits that are added at them, (H, M)."""

    distances: Float[Tensor, " M"]
    logits: Float[Tensor, "H M"]

    def same(self, other: "Curve") -> bool:
        """Whether two layers add the same bias. Layers that share an encoding do, unless it depends on content."""
        return self.logits.shape == other.logits.shape and torch.equal(self.logits, other.logits)


@torch.no_grad()
def bias_curve(record: LayerRecord, positions: Positions) -> Curve | None:
    """b_h(δ) = mean, over sequences and visible pairs at distance δ, of the bias that was added to the scaled logits.

    A bias that depends only on distance is read from its table, also at distances that do not occur in this batch.
    """
    if record.bias is None:
        return None
    seen = (record.logits > float("-inf"))[:, :1]
    index = positions.distance_index[:, None].expand(len(seen), -1, -1, -1)
    distances = positions.distances
    if isinstance(record.bias, ByDistance) and record.bias.table.shape[-2] == 1:
        logits = record.bias.table.detach().mean((0, 2)).float()
        within = positions.consecutive
        met = distances.abs() <= float(positions.values.amax() - positions.values.amin()) + 1e-6
        known = met if within else torch.ones_like(met)
        if not bool((seen & (index > positions.span - 1)).any()):  # a causal mask hides all keys to the right
            known = known & (distances <= 0)
        return Curve(distances[known], logits[:, known])
    bias = record.bias.matrix(positions).detach().float()
    bias = bias.expand(len(seen), record.logits.shape[1], -1, -1).transpose(0, 1)  # (H, B, N, N)
    counts = torch.bincount(index[seen], minlength=len(distances))
    sums = torch.stack(
        [torch.bincount(index[seen], head[seen[:, 0]].double(), minlength=len(distances)) for head in bias]
    )
    known = counts > 0
    return Curve(distances[known], (sums[:, known] / counts[known]).float())
