"""One number a layer of each quantity, from one captured forward pass."""

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
"""Sequences whose singular values are taken: they cost more than all else, and vary little."""


def _rank(x: Float[Tensor, "B N D"]) -> Tensor:
    """Where a number is not finite LAPACK would raise; the rank of such a matrix is not a number either."""
    x = x[:RANKED]
    return effective_rank(x).mean() if bool(x.isfinite().all()) else torch.tensor(torch.nan)


OF_ATTENTION: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "attention_entropy": attention_entropy,
    "attention_distance": lambda weights, _: attention_distance(weights),
    "sink_rate": lambda weights, _: sink_rate(weights),
    "toeplitzness": lambda _, logits: toeplitzness(logits)["relative"],
}
"""Of a layer's weights and logits, for each head: layers 1, ..., L."""
OF_STREAMS: dict[str, Callable[[Tensor, Tensor], Tensor | float]] = {
    "dong_ratio": lambda x, _: dong_ratio(x).log().mean().exp(),
    "token_cosine": lambda x, _: token_cosine(x).mean(),
    "effective_rank": lambda x, _: _rank(x),
    "position_share": lambda x, tokens: position_share(x, tokens)["position"],
}
"""Of a residual stream and its tokens: layers 0, ..., L, where 0 is what the first block reads."""
QUANTITIES = (*OF_ATTENTION, *OF_STREAMS)


def by_layer(seen: Capture, tokens: Int[Tensor, "B N"]) -> dict[str, dict[int, float]]:
    """{quantity: {layer: value}} of the `tokens` whose forward pass was captured.

    Layer l is the l-th block, and stream l what it leaves; stream 0 is what the first block reads. Each value is a mean
    over sequences and heads; `dong_ratio` has a geometric one, `effective_rank` is that of the first 8 sequences, and
    `toeplitzness` is the relative one. See each quantity's own file for formula and source.

    Attention is that of all queries, a read-out's query token included; streams are those of `tokens` alone.
    `position_share` assumes tokens drawn independently of position: where a task puts some tokens at some places, it
    counts what they are as position. What is not defined, or not finite, is nan: nothing here raises for it.
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
    """In float32 at least: halves are too coarse for these sums, and torch has no singular values of them."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
