"""The entropy of attention: how evenly a query attends to the keys."""

import torch
from jaxtyping import Float
from torch import Tensor


def attention_entropy(
    weights: Float[Tensor, "B H N N"], logits: Float[Tensor, "B H N N"] | None = None
) -> Float[Tensor, " H"]:
    """mean over sequences and queries of  −Σ_j A_ij log A_ij / log n_i,  n_i the keys that query i may see.

    1: uniform attention, 0: attention to one key. Rank collapse leads to 1, and entropy collapse (Zhai et al. 2023,
    https://arxiv.org/abs/2303.06296) leads to 0. If a mask hides keys, pass the logits, which are −∞ there. Then
    n_i counts only visible keys, and queries that see only one key are left out.
    """
    entropy = torch.special.entr(weights).sum(-1)
    if logits is None:
        return entropy.mean((0, -1)) / torch.tensor(weights.shape[-1], dtype=weights.dtype).log()
    seen = (logits > float("-inf")).sum(-1)
    choice = seen > 1
    normalised = entropy / seen.clamp(min=2).to(weights.dtype).log()
    return (normalised * choice).sum((0, -1)) / choice.sum((0, -1))
