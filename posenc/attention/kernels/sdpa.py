"""Attention by torch's `scaled_dot_product_attention`.

torch's fused kernels run where the bias needs no gradient.
"""

from torch import Tensor
from torch.nn import functional as F

from posenc.attention.bias import Bias
from posenc.attention.kernels import blocks
from posenc.attention.mask import Mask
from posenc.positions.positions import Positions


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Bias | None, positions: Positions, mask: Mask) -> Tensor:
    """softmax(q kᵀ / √d + bias, over the keys that mask allows) v, for a bias without values."""
    scale = v.shape[-1] ** -0.5
    q, k, v = blocks.operands(q, k, v, None, positions.length)
    if bias is None and mask.window is None:
        return F.scaled_dot_product_attention(q, k, v, is_causal=mask.causal, scale=scale)
    allowed = mask.allowed(positions.length, q.device)
    if bias is None:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, scale=scale)
    logits = bias.matrix(positions).to(q.dtype)
    if allowed is not None:
        logits = logits.masked_fill(~allowed, float("-inf"))
    q, k, v = blocks.operands(q, k, v, logits, positions.length)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=logits, scale=scale)
