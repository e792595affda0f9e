"""The distance between a query and the keys that it attends to."""

from jaxtyping import Float
from torch import Tensor

from posenc.positions.positions import Positions


def attention_distance(weights: Float[Tensor, "B H N N"]) -> Float[Tensor, " H"]:
    """D_h = mean over sequences and queries i of Σ_j A_ij |i − j|, in tokens.

    "Mean attention distance", Dosovitskiy et al. 2021 (https://arxiv.org/abs/2010.11929, figure 7); the "non-locality"
    of ConViT (https://arxiv.org/abs/2103.10697). Compare with `uniform_distance`.
    """
    positions = Positions.arange(weights.shape[-1], weights.device)
    distance = (positions.distance_index[0] - (positions.span - 1)).abs()
    return (weights * distance).sum(-1).mean((0, -1))


def uniform_distance(length: int, causal: bool = False) -> float:
    """The mean distance of uniform attention, or of a uniform guess: (N² − 1)/(3N); (N − 1)/4 under a causal mask."""
    return (length - 1) / 4 if causal else (length**2 - 1) / (3 * length)
