"""Combines the biases of several encodings: their sum, or one after another along the heads.

If all are tables of distances, so is the result. If one is `ByPairs` and none has `values`, the result is `ByPairs`.
Otherwise the result is `Dense`, N×N. The `values` of the biases are kept.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate

import torch
from jaxtyping import Float
from torch import Tensor

from posenc.attention.bias import Bias, ByDistance, ByPairs, Dense
from posenc.positions.positions import Positions

Block = Callable[[Sequence[Tensor], slice, slice], Float[Tensor, "b h m n"]]
"""(tensors, queries, keys) → the bias between these queries and keys."""


def added(biases: Sequence[Bias | None], positions: Positions) -> Bias | None:
    """The bias whose matrix is the sum of the matrices, and whose `values` are the sum of the `values`."""
    given = [bias for bias in biases if bias is not None]
    if len(given) < 2:
        return given[0] if given else None
    if all(isinstance(bias, ByDistance) for bias in given):
        return ByDistance(_sum([bias.table for bias in given if isinstance(bias, ByDistance)]))
    values = [bias.values for bias in given if bias.values is not None]
    return _joined(given, positions, _sum, _sum(values) if values else None)


def side_by_side(biases: Sequence[Bias | None], heads: Sequence[int], positions: Positions) -> Bias | None:
    """The bias whose first `heads[0]` heads are the first bias, and so on; None is a bias of zeros."""
    given = [bias for bias in biases if bias is not None]
    if not given:
        return None
    if all(isinstance(bias, ByDistance) for bias in given):
        tables = [bias.table if isinstance(bias, ByDistance) else None for bias in biases]
        return ByDistance(_heads(tables, heads))
    values = [None if bias is None else bias.values for bias in biases]
    known = next((value for value in values if value is not None), None)
    rows = [None if value is None else value[None] for value in values]
    stacked = None if known is None else _heads(rows, heads)[0]
    return _joined(biases, positions, lambda blocks: _heads(blocks, heads), stacked)


def _joined(
    biases: Sequence[Bias | None],
    positions: Positions,
    join: Callable[[Sequence[Tensor | None]], Tensor],
    values: Tensor | None,
) -> Bias:
    """`join` of the blocks of all biases, as `ByPairs` or `Dense`."""
    parts = [_block(bias, positions) for bias in biases]
    ends = [*accumulate(len(tensors) for _, tensors in parts)]

    def logits(tensors: Sequence[Tensor], m: slice, n: slice) -> Tensor:
        each = [tensors[end - len(own) : end] for (_, own), end in zip(parts, ends, strict=True)]
        return join([None if f is None else f(own, m, n) for (f, _), own in zip(parts, each, strict=True)])

    tensors = tuple(tensor for _, own in parts for tensor in own)
    pairs = [bias for bias in biases if isinstance(bias, ByPairs)]
    if pairs and values is None:
        return ByPairs(logits, tensors, width=sum(bias.width for bias in pairs))
    return Dense(logits(tensors, slice(0, positions.length), slice(0, positions.at_keys.length)), values)


def _block(bias: Bias | None, positions: Positions) -> tuple[Block | None, tuple[Tensor, ...]]:
    """The function that gives a block of the bias, and the tensors that it takes."""
    if bias is None:
        return None, ()
    if isinstance(bias, ByPairs):
        return lambda tensors, m, n: bias.logits(tuple(tensors), m, n), bias.parameters
    if isinstance(bias, ByDistance):
        return lambda tensors, m, n: ByDistance(tensors[0]).matrix(positions)[:, :, m, n], (bias.table,)
    return lambda tensors, m, n: tensors[0][:, :, m, n], (bias.matrix(positions),)


def _sum(tensors: Sequence[Tensor | None]) -> Tensor:
    first, *others = [tensor for tensor in tensors if tensor is not None]
    for other in others:
        first = first + other
    return first


def _heads(tensors: Sequence[Tensor | None], heads: Sequence[int]) -> Tensor:
    """Join tensors (b, h, ...) to one (b, H, ...). h = 1 is used for all heads of its part; None gives zeros."""
    shapes = [tensor.shape for tensor in tensors if tensor is not None]
    shape = [max(sizes) for sizes in zip(*shapes, strict=True)]
    known = next(tensor for tensor in tensors if tensor is not None)
    return torch.cat(
        [
            (known.new_zeros(1) if tensor is None else tensor).expand(shape[0], count, *shape[2:])
            for tensor, count in zip(tensors, heads, strict=True)
        ],
        dim=1,
    )
