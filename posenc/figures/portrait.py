"""The numbers in the picture of an encoding: its effect on a sequence of equal tokens."""

import copy
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posenc.attention.definition import attention_logits
from posenc.attention.mask import Mask
from posenc.encodings.base import PositionalEncoding
from posenc.positions.positions import Positions

LENGTH, CONTENTS, DIM, HEADS = 65, 64, 64, 4
FLAT = 1e-6
"""Smaller differences count as 0."""


@dataclass(frozen=True)
class Portrait:
    """Logits between equal tokens, averaged over random contents.

    distances  (M,) key − query, for the query in the middle, or for the last one under a causal mask
    logits     (H, M) logits of each head at these distances, minus their mean
    matrix     (N, N) logits of each query and key, averaged over heads
    vectors    (N, D) the vectors added to the token embeddings; None if there are none
    turned     (N, c) a key of ones after `rotate`; None if position does not change it
    random     whether the weights are N(0, 1) instead of the initial ones, which give equal logits
    causal     whether the encoding needs a causal mask
    """

    distances: Float[Tensor, " M"]
    logits: Float[Tensor, "H M"]
    matrix: Float[Tensor, "N N"]
    vectors: Float[Tensor, "N D"] | None
    turned: Float[Tensor, "N c"] | None
    random: bool
    causal: bool


@torch.no_grad()
def portray(encoding: PositionalEncoding, causal: bool) -> Portrait:
    """The portrait of an encoding that was built for the default model."""
    portrait = _portray(encoding, causal, random=False)
    if float(portrait.logits.abs().max()) > FLAT or not any(True for _ in encoding.parameters()):
        return portrait
    varied = copy.deepcopy(encoding)
    for parameter in varied.parameters():
        nn.init.normal_(parameter)
    return _portray(varied, causal, random=True)


def _portray(encoding: PositionalEncoding, causal: bool, random: bool) -> Portrait:
    positions = Positions.arange(LENGTH)
    content = torch.randn(CONTENTS, 1, DIM, generator=torch.Generator().manual_seed(0)).expand(-1, LENGTH, -1)
    x = encoding.embed(content, positions)
    heads = x.unflatten(-1, (HEADS, -1)).transpose(1, 2)
    q, k = encoding.rotate(x, heads, heads, positions)
    bias = encoding.bias(x, q, k, positions)
    logits = attention_logits(q, k, DIM // HEADS, bias, positions, Mask(causal)).mean(0)  # (H, N, N)
    query = LENGTH - 1 if causal else LENGTH // 2
    row = logits[:, query]
    ones = torch.ones(1, HEADS, LENGTH, DIM // HEADS)
    turned = encoding.rotate(content[:1], ones, ones, positions)[1][0, 0]
    vectors = (x - content)[0]
    return Portrait(
        distances=torch.arange(LENGTH, dtype=torch.float32) - query,
        logits=(row - row.mean(-1, keepdim=True)).where((row.amax(-1) - row.amin(-1) > FLAT)[:, None], 0),
        matrix=logits.mean(0),
        vectors=vectors if float(vectors.abs().max()) > FLAT else None,
        turned=turned if float((turned - turned[:1]).abs().max()) > FLAT else None,
        random=random,
        causal=causal,
    )
