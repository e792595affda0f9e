"""How similar the directions of a sequence's token vectors are."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def token_cosine(x: Float[Tensor, "*b N D"]) -> Float[Tensor, "*b"]:
    """ρ = mean of cos(x_i, x_j) over i ≠ j  =  (‖Σ_i x_i/‖x_i‖‖² − N) / (N(N − 1)).

    1: all vectors have the same direction. It is the forward quantity of signal propagation, Noci et al. 2022
    (https://arxiv.org/abs/2206.03126). Unlike `dong_ratio`, it ignores the norms of the vectors.
    """
    N = x.shape[-2]
    total = F.normalize(x, dim=-1).sum(-2).square().sum(-1)
    return (total - N) / (N * (N - 1))
