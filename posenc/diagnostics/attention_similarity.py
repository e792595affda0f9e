"""The similarity of two attention patterns: of heads of a layer, and of layers of a stack."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def head_similarity(weights: Float[Tensor, "B H N N"]) -> Float[Tensor, "H H"]:
    """S_hg = mean over sequences and queries i of cos(A^h_i·, A^g_i·),  rows of attention.

    1: the heads attend to the same keys, so all but one are redundant. Weights are never negative, so the cosine is not
    negative either. Two nearly uniform heads are also similar, so read the entropy too. A query that sees only one key
    (the first query under a causal mask) counts as 1.
    """
    rows = F.normalize(weights, dim=-1)
    return torch.einsum("bhij,bgij->hg", rows, rows) / (rows.shape[0] * rows.shape[2])


def layer_similarity(weights: Sequence[Float[Tensor, "B H N N"]]) -> Float[Tensor, "L L"]:
    """S_lm = mean over sequences and queries i of cos(Ā^l_i·, Ā^m_i·),  Ā the mean of a layer's heads.

    "Attention collapse" of deep stacks, DeepViT, Zhou et al. 2021 (https://arxiv.org/abs/2103.11886). Deviations: they
    compare columns, and head h of one layer with head h of another. Here the rows
    of the mean of the heads are compared, because the order of heads has no meaning.
    """
    return head_similarity(torch.stack([layer.mean(1) for layer in weights], dim=1))
