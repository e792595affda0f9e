"""One number for each quantity and layer, from one captured forward pass."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from posenc.diagnostics.attention_distance import attention_distance
from posenc.diagnostics.attention_entropy import attention_entropy
from posenc.diagnostics.capture import Capture
from posenc.diagnostics.dong_ratio import dong_ratio
from posenc.diagnostics.position_share import position_share
from posenc.diagnostics.rank import effective_rank
from posenc.diagnostics.sink_rate import sink_rate
from posenc.diagnostics.toeplitzness import toeplitzness
from posenc.diagnostics.token_cosine import token_cosine

RANKED = 8
"""The number of sequences whose singular values are computed. These cost most, and vary little between sequences."""


def _rank(x: Float[Tensor, "B N D"]) -> Tensor:
    """The effective rank; NaN if a number is not finite, because LAPACK would raise an error."""
    x = x[:RANKED]
    return effective_rank(x).mean() if bool(x.isfinite().all()) else torch.tensor(torch.nan)


OF_ATTENTION: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "attention_entropy": attention_entropy,
    "attention_distance": lambda weights, _: attention_distance(weights),
    "sink_rate": lambda weights, _: sink_rate(weights),
    "toeplitzness": lambda _, logits: toeplitzness(logits)["relative"],
}
"""(weights, logits) of a layer → a number for each head; for layers 1, ..., L."""
OF_STREAMS: dict[str, Callable[[Tensor, Tensor], Tensor | float]] = {
    "dong_ratio": lambda x, _: dong_ratio(x).log().mean().exp(),
    "token_cosine": lambda x, _: token_cosine(x).mean(),
    "effective_rank": lambda x, _: _rank(x),
    "position_share": lambda x, tokens: position_share(x, tokens)["position"],
}
"""(residual, tokens) → a number; for layers 0, ..., L, where 0 is the input of the first block."""
QUANTITIES = (*OF_ATTENTION, *OF_STREAMS)


def by_layer(seen: Capture, tokens: Int[Tensor, "B N"]) -> dict[str, dict[int, float]]:
    """{quantity: {layer: value}} for the captured forward pass of `tokens`.

    Layer l is the l-th block, and residual l is its output; residual 0 is the input of the first block. Each value is a
    mean over sequences and heads. Exceptions: `dong_ratio` is a geometric mean, and `effective_rank` uses the first 8
    sequences. `toeplitzness` is its `relative` part. The file of each quantity has its formula and source.

    Attention is measured for all queries, also for the query token of a read-out; residuals only for `tokens`.
    `position_share` assumes that tokens are independent of position. If a task has some tokens at fixed places, their
    content counts as position. A value that is not defined or not finite is NaN; no error is raised.
    """
    length = tokens.shape[1]
    attention = [tuple(map(_exact, (record.weights, record.logits))) for record in seen.attention]
    streams = [_exact(stream[:, :length]) for stream in seen.streams]
    found = {
        name: {layer: float(measure(*each).mean()) for layer, each in enumerate(attention, start=1)}
        for name, measure in OF_ATTENTION.items()
    }
    return found | {
        name: {layer: float(measure(stream, tokens)) for layer, stream in enumerate(streams)}
        for name, measure in OF_STREAMS.items()
    }


def _exact(x: Tensor) -> Tensor:
    """x in float32 at least. Lower precisions are too coarse for these sums, and torch has no SVD for them."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
