"""How much each token contributes through the attention of all layers together."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def rollout(weights: Sequence[Float[Tensor, "B H N N"]], skip: float = 0.5) -> Float[Tensor, "L B N N"]:
    """R_l = Ā_l ⋯ Ā_1,   Ā = skip · I + (1 − skip) · mean over heads of A.

    Attention rollout, Abnar & Zuidema 2020 (https://arxiv.org/abs/2005.00928); skip = ½ stands for the residual. With
    skip = 0 it is the cumulative attention of Wu et al. 2025 (https://arxiv.org/abs/2502.01951). They show that under a
    causal mask this attention moves to the first tokens as layers are added. Row i of R_l has the shares of all tokens
    in h_l at place i.
    """
    N = weights[0].shape[-1]
    identity = torch.eye(N, dtype=weights[0].dtype, device=weights[0].device)
    total, steps = identity, []
    for layer in weights:
        total = (skip * identity + (1 - skip) * layer.mean(1)) @ total
        steps.append(total)
    return torch.stack(steps)
