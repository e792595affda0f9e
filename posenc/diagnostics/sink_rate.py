"""Whether heads attend mostly to the first token."""

from jaxtyping import Float
from torch import Tensor


def sink_rate(weights: Float[Tensor, "B H N N"], threshold: float = 0.3) -> Float[Tensor, " H"]:
    """Share of sequences in which  α_0 = mean over queries i of A_i0  exceeds `threshold`, for each head.

    Attention sinks, Gu et al. 2025 (https://arxiv.org/abs/2410.10781): their sink rate is the mean over heads and
    layers, with ε = 0.3. α_j is a mean over the queries that may see key j. Under a causal mask all queries see key 0.
    """
    return (weights[..., 0].mean(-1) > threshold).to(weights.dtype).mean(0)
