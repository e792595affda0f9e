"""Attention by torch's `scaled_dot_product_attention`.

torch uses its fused kernels if the bias needs no gradient.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from posenc.attention.bias import Bias
from posenc.attention.kernels import blocks
from posenc.attention.mask import Mask
from posenc.attention.softmax import PLAIN, Softmax, with_sink
from posenc.positions.positions import Positions


def attend(
    q: Tensor, k: Tensor, v: Tensor, bias: Bias | None, positions: Positions, mask: Mask, softmax: Softmax = PLAIN
) -> Tensor:
    """softmax(q kᵀ / √d + bias, over the keys that mask allows) v, for a bias without values and no soft cap."""
    scale = v.shape[-1] ** -0.5
    q, k, v = blocks.operands(q, k, v, None, positions)
    if softmax.sinks is not None:
        return _beside_a_sink(q, k, v, bias, positions, mask, softmax.sinks, scale)
    if bias is None and _known(mask, positions):
        return F.scaled_dot_product_attention(q, k, v, is_causal=mask.causal, scale=scale)
    q, k, v, logits = _masked(q, k, v, bias, positions, mask)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=logits, scale=scale)


def _known(mask: Mask, positions: Positions) -> bool:
    """Whether torch's `is_causal` can express the mask. It assumes that the first query is at the first key."""
    order = mask.window is None and mask.own is None and positions.documents is None
    return order and (positions.keys is None or mask.open)


def _masked(
    q: Tensor, k: Tensor, v: Tensor, bias: Bias | None, positions: Positions, mask: Mask
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """q, k, v and the bias with −∞ where the mask forbids. Without a bias: which keys the mask allows."""
    allowed = mask.seen(positions)
    if bias is None:
        return q, k, v, allowed
    logits = bias.matrix(positions).to(q.dtype)
    if allowed is not None:
        logits = logits.masked_fill(~allowed, float("-inf"))
    return *blocks.operands(q, k, v, logits, positions), logits


def _beside_a_sink(
    q: Tensor, k: Tensor, v: Tensor, bias: Bias | None, positions: Positions, mask: Mask, sinks: Tensor, scale: float
) -> Tensor:
    """Attention with the sink as a token before the first. Every query sees it, also under a causal mask."""
    d, causal, logits = v.shape[-1], mask.causal, None
    if bias is not None or not _known(mask, positions):
        q, k, v, logits = _masked(q, k, v, bias, positions, mask)
        causal = False
    if logits is not None:
        logits = F.pad(logits, (1, 0, 1, 0), value=logits.dtype == torch.bool)
    q, k, v = with_sink(q, k, v, sinks, scale)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=logits, is_causal=causal, scale=scale)
    return out[..., 1:, :d]
