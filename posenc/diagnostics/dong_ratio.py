"""How different the vectors of a sequence's tokens are."""

from jaxtyping import Float
from torch import Tensor


def dong_ratio(x: Float[Tensor, "*b N D"]) -> Float[Tensor, "*b"]:
    """r = ‖X − 1x̄ᵀ‖₁,∞ / ‖X‖₁,∞,   ‖X‖₁,∞ = √(‖X‖₁ · ‖X‖∞),   x̄ the mean of the tokens.

    0: all tokens are the same vector (rank collapse). ‖X‖₁ is the largest sum of absolute values of a column, ‖X‖∞ of
    a row. Dong, Cordonnier & Loukas 2021 (https://arxiv.org/abs/2103.03404) prove that in pure self-attention the
    residual obeys ‖res(l + 1)‖ ≤ C·‖res(l)‖³: log r is multiplied by three in every layer. As in the authors' figures,
    x̄ is the mean and not the best vector, and the norm has a square root
    (https://github.com/twistedcubic/attention-rank-collapse, paper-plotting/utils.py).

    Use a geometric mean over sequences, layers or seeds. The floor is about 1e-7 in float32 and 1e-16 in float64.
    """
    return _composite(x - x.mean(-2, keepdim=True)) / _composite(x)


def _composite(x: Float[Tensor, "*b N D"]) -> Float[Tensor, "*b"]:
    size = x.abs()
    return (size.sum(-2).amax(-1) * size.sum(-1).amax(-1)).sqrt()
