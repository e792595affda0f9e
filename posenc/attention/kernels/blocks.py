"""What kernels share that compute attention block by block, so that a block fits into a CPU's caches."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function

from posenc.checks import ConfigError
from posenc.positions.positions import Positions

Queries = Float[Tensor, "B H N c"]
"""The shape of queries and of keys."""
Values = Float[Tensor, "B H N d"]
"""The shape of values and of the output of attention."""


def pays(x: Tensor) -> bool:
    """Whether blocks are faster. A GPU would wait at each block, and torch.compile cannot trace our backward pass."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def without_autocast(x: Tensor) -> AbstractContextManager[object]:
    """A context manager without autocast, so that products keep the type of their operands."""
    known = torch.amp.autocast_mode.is_autocast_available(x.device.type)
    return torch.autocast(x.device.type, enabled=False) if known else nullcontext()


def operands(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, positions: Positions
) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v in the form that kernels need but do not check: (B, H, N, ·), contiguous along the last axis.

    Axes of batch and heads are expanded, as a view. Raises ConfigError if the number of queries, keys or values is not
    the number of positions, or if q, k, v and the bias have different batches or heads.
    """
    fits(q, k, positions)
    same = q.shape[:2] == k.shape[:2] and q.shape[3:] == k.shape[3:]
    if not (q.ndim == 4 and same and k.shape[:3] == v.shape[:3]):
        q, k, v = _spread(q, k, v)
    if bias is not None and (bias.shape[0] not in (1, q.shape[0]) or bias.shape[1] not in (1, q.shape[1])):
        raise ConfigError(
            f"attention: a bias of {bias.shape[0]} sequences and {bias.shape[1]} heads does not fit queries of "
            f"{len(q)} and {q.shape[1]}; give as many, or one for all."
        )
    q, k, v = (x if x.stride(-1) == 1 else x.contiguous() for x in (q, k, v))
    return q, k, v


def fits(q: Tensor, k: Tensor, positions: Positions) -> None:
    """Raise ConfigError if there are not as many queries or keys as positions, because they would broadcast."""
    queries, keys = positions.length, positions.at_keys.length
    if q.shape[-2] != queries or k.shape[-2] != keys:
        where = f"{queries} positions" if positions.keys is None else f"{queries} and {keys} positions"
        raise ConfigError(
            f"attention: {q.shape[-2]} queries and {k.shape[-2]} keys, but {where}; give a position for each token."
        )


def _spread(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    try:
        lead = torch.broadcast_shapes(*(x.shape[:-2] for x in (q, k, v)))
        if len(lead) != 2 or k.shape[-2] != v.shape[-2] or q.shape[-1] != k.shape[-1]:
            raise RuntimeError
    except RuntimeError:
        shapes = ", ".join(str(tuple(x.shape)) for x in (q, k, v))
        raise ConfigError(
            f"attention: queries, keys and values {shapes} do not fit; give each (batch, heads, length, width)."
        ) from None
    q, k, v = (x.expand(*lead, -1, -1) for x in (q, k, v))
    return q, k, v


def once(backward: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator: a backward pass that raises an error at once if it would be differentiated itself.

    torch's `once_differentiable` raises the error in a later node, which torch.autograd.grad may skip. A second
    derivative would then silently lack the terms of this pass.
    """

    @wraps(backward)
    def only(ctx: Any, *grads: Tensor) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError(
                f"{type(ctx).__name__.removesuffix('Backward')} has no second derivative: leave create_graph=False, or "
                "compute it with model.attention=explicit and an encoding other than CoPE and DAPE."
            )
        return backward(ctx, *grads)

    return only


def apply(blocked: type[Function], definition: Callable[..., Tensor], *operands: Tensor) -> Tensor:
    """`blocked` if blocks are faster, otherwise the `definition`, which gives the same result.

    Autocast is switched off. The backward pass runs without autocast, and it must compute the same numbers again.
    """
    with without_autocast(operands[0]):
        answer = blocked.apply(*operands) if pays(operands[0]) else definition(*operands)
    assert isinstance(answer, Tensor)
    return answer


def by_key(rows: Float[Tensor, "*b m W"]) -> Float[Tensor, "*b m n"]:
    """out[i, j] = rows[i, j − i + m − 1], n = W − m + 1: rows of distances as rows of keys.

    A view of contiguous rows whose row stride is one shorter. `skew` does the same without strides.
    """
    rows = rows.contiguous()
    m, W = rows.shape[-2:]
    strides = (*rows.stride()[:-2], max(1, W - 1), 1)
    return rows.as_strided((*rows.shape[:-1], W - m + 1), strides, rows.storage_offset() + m - 1)


def skew(table: Float[Tensor, "*b m W"]) -> Float[Tensor, "*b m n"]:
    """out[i, j] = table[i, j − i + m − 1], W = n + m − 1: rows of distances become rows of keys.

    Huang et al. 2018 (Music Transformer, https://arxiv.org/abs/1809.04281), section 3.4.1, for both directions. The row
    stride is W − 1 instead of W, so each row starts one distance further left. A view, if the table is contiguous.
    """
    m, W = table.shape[-2:]
    if m == 1:
        return table
    flat = table.flatten(-2)[..., m - 1 : m - 1 + m * (W - 1)]
    return flat.unflatten(-1, (m, W - 1))[..., : W - m + 1]


def earlier(queries: int, keys: int, device: torch.device | None = None) -> Tensor:
    """(m, n), True where the key (column) is not after the query (row). The queries are the last m of the n keys."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)


def cut(total: int, size: int) -> Iterator[slice]:
    """0 .. total in slices of `size`; the last may be smaller."""
    return (slice(start, min(total, start + size)) for start in range(0, total, size))
