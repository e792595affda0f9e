"""Self-attention by its definition. Tests compare every kernel with it.

    attend(q, k, v, bias, positions, mask) = softmax(q kᵀ / √d + bias.matrix, over the keys that mask allows) v

d is the width of v; an encoding may widen q and k, but the scale stays. The bias is added to the *scaled* logits.
`posenc.attention.softmax.Softmax` may put a soft cap on the logits and may add a sink beside the keys. If the bias has
`values`, they are added to v by distance. There are M queries and N keys. M = N, unless `positions.keys` is given.
"""

from jaxtyping import Float
from torch import Tensor

from posenc.attention.bias import Bias
from posenc.attention.kernels import blocks
from posenc.attention.kernels.blocks import Queries, Values
from posenc.attention.mask import Mask
from posenc.attention.softmax import PLAIN, Softmax
from posenc.positions.positions import Positions


def attention_logits(
    q: Float[Tensor, "B H M c"],
    k: Float[Tensor, "B H N c"],
    head_dim: int,
    bias: Bias | None,
    positions: Positions,
    mask: Mask,
    softmax: Softmax = PLAIN,
) -> Float[Tensor, "B H M N"]:
    """q kᵀ / √head_dim + bias, with the soft cap, and −∞ where the mask forbids."""
    return biased(q @ k.transpose(-1, -2) * head_dim**-0.5, bias, positions, mask, softmax)


def biased(
    logits: Float[Tensor, "B H M N"], bias: Bias | None, positions: Positions, mask: Mask, softmax: Softmax = PLAIN
) -> Tensor:
    """logits + bias, with the soft cap, and −∞ where the mask forbids."""
    blocks.fits(logits, logits.mT, positions)
    mask.fit(logits)
    if bias is not None:
        logits = logits + bias.matrix(positions).to(logits.dtype)
    logits = softmax.capped(logits)
    allowed = mask.seen(positions)
    return logits if allowed is None else logits.masked_fill(~allowed, float("-inf"))


def add_values(weights: Float[Tensor, "B H M N"], v: Tensor, bias: Bias | None, positions: Positions) -> Tensor:
    """weights · v + the weighted `values` of the bias."""
    relative = None if bias is None else bias.weighted_values(weights, positions)
    return weights @ v if relative is None else weights @ v + relative


def explicit(
    q: Queries, k: Queries, v: Values, bias: Bias | None, positions: Positions, mask: Mask, softmax: Softmax = PLAIN
) -> Values:
    """The definition, written out. It works for every bias, mask and device."""
    logits = attention_logits(q, k, v.shape[-1], bias, positions, mask, softmax)
    return add_values(softmax.weights(logits), v, bias, positions)
