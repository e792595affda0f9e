"""The number of directions that the vectors of a sequence span, weighted by their size."""

import torch
from jaxtyping import Float
from torch import Tensor


def effective_rank(x: Float[Tensor, "*b N D"]) -> Float[Tensor, "*b"]:
    """exp(−Σ_i p_i log p_i),  p_i = σ_i / Σ_j σ_j of the singular values.

    Roy & Vetterli 2007 (https://infoscience.epfl.ch/handle/20.500.14299/10446). It is n for n equal singular values and
    1 for a matrix of rank one. Small directions count more than in `stable_rank`.
    """
    sigma = torch.linalg.svdvals(x)
    share = sigma / sigma.sum(-1, keepdim=True)
    return torch.special.entr(share).sum(-1).exp()


def stable_rank(x: Float[Tensor, "*b N D"]) -> Float[Tensor, "*b"]:
    """‖X‖_F² / ‖X‖₂² = Σ_i σ_i² / max_i σ_i².

    Rudelson & Vershynin 2007 (https://arxiv.org/abs/math/0503442). It is at most the rank.
    """
    square = torch.linalg.svdvals(x).square()
    return square.sum(-1) / square.amax(-1)
