"""The share of the attention logits that depends on relative or on absolute position."""

import torch
from jaxtyping import Float
from torch import Tensor


def toeplitzness(logits: Float[Tensor, "B H N N"]) -> dict[str, Float[Tensor, " H"]]:
    """relative = Var_δ(E[S | j − i = δ]) / Var(S),   absolute = Var_ij(E_b S_bij) / Var(S),   for each head.

    The shares of the logits' variance that are explained by the distance, and by the pair of places (one-way analysis
    of variance). relative ≤ absolute ≤ 1; for a bias without content absolute is 1. First the mean of each row is
    subtracted, because softmax ignores it. Without bias and rotation absolute is about 1/B and not 0, because E_b is a
    mean of B sequences. Keys that a mask hides (−∞) are left out.
    """
    seen = (logits > float("-inf")).expand_as(logits)
    S = logits.masked_fill(~seen, 0)
    S = (S - S.sum(-1, keepdim=True) / seen.sum(-1, keepdim=True)) * seen
    S, weight = S.transpose(0, 1), seen.transpose(0, 1).to(S.dtype)  # (H, B, N, N)
    mean = S.sum((1, 2, 3), keepdim=True) / weight.sum((1, 2, 3), keepdim=True)
    total = (weight * (S - mean) ** 2).sum((1, 2, 3))
    by_pair = S.mean(1)
    absolute = (weight * (by_pair[:, None] - mean) ** 2).sum((1, 2, 3))
    N = S.shape[-1]
    order = torch.arange(N, device=S.device)
    diagonal = (order[None, :] - order[:, None] + N - 1).flatten()
    sums, counts = (
        x.sum(1).flatten(1).new_zeros(len(S), 2 * N - 1).index_add(1, diagonal, x.sum(1).flatten(1))
        for x in (S, weight)
    )
    by_distance = sums / counts.clamp(min=1)
    relative = (counts * (by_distance - mean[:, 0, 0]) ** 2).sum(1)
    return {"relative": relative / total, "absolute": absolute / total}
