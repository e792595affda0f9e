"""The section `attention`: posenc's attention against torch's, for each kind of bias."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from posenc.attention.bias import Bias, ByDistance, ByQuery, Dense
from posenc.attention.kernels.choose import attend
from posenc.attention.mask import Mask
from posenc.benchmark.models import DIM, HEADS
from posenc.benchmark.sections import Row, Section, Shape
from posenc.benchmark.timing import race
from posenc.positions.positions import Positions
from posenc.training.precision import LinearBfloat16, automatic


def attention(shapes: Sequence[Shape], rounds: int) -> Section:
    """Forward and backward of one layer without projections; the time to compute a bias is left out."""
    section = Section("attention", "attention, forward and backward; ratio: to torch's in float32 with the same bias")
    section.notes.append(
        "torch's attention is scaled_dot_product_attention. It cannot add to the values, so `read by queries, "
        "values` is compared with posenc's definition of attention."
    )
    bfloat16 = automatic("cpu") == LinearBfloat16.precision
    for size, length in shapes:
        steps: dict[str, Callable[[], Any]] = {}
        for kind, bias in _biases(size, length).items():
            steps[f"{kind}: torch"] = _step(bias, size, length, torch.float32, attention="sdpa")
            steps[f"{kind}: posenc"] = _step(bias, size, length, torch.float32)
            if bfloat16:
                steps[f"{kind}: posenc, bfloat16"] = _step(bias, size, length, torch.bfloat16, bfloat16=True)
        timed = race(steps, rounds, f"attention {size} × {length}")
        for name, timing in timed.items():
            row: Row = {"batch": size, "length": length, "contestant": name}
            section.rows.append(row | timing.row(timed[f"{name.partition(':')[0]}: torch"]))
    return section


def _biases(size: int, length: int) -> dict[str, Bias | None]:
    """{name: bias}. All biases are learned, except the fixed table."""
    distances, width = 2 * length - 1, DIM // HEADS
    queries, vectors = _leaf(size, HEADS, length, width), [_leaf(1, distances, width) for _ in range(2)]
    return {
        "no bias": None,
        "fixed table": ByDistance(_leaf(1, HEADS, 1, distances).detach()),
        "table": ByDistance(_leaf(1, HEADS, 1, distances)),
        "read by queries": ByQuery(queries, vectors[0]),
        "read by queries, values": ByQuery(queries, *vectors),
        "N × N": Dense(_leaf(1, HEADS, length, length)),
    }


def _step(bias: Bias | None, size: int, length: int, dtype: torch.dtype, **options: Any) -> Callable[[], Any]:
    q, k, v = (_leaf(size, HEADS, length, DIM // HEADS, dtype=dtype) for _ in range(3))
    positions, grad = Positions.arange(length), torch.randn_like(v)
    parts = () if bias is None else (getattr(bias, field.name) for field in fields(bias))
    leaves = [q, k, v, *(part for part in parts if part is not None and part.requires_grad)]
    return lambda: torch.autograd.grad(attend(q, k, v, bias, positions, Mask(), **options), leaves, grad)


def _leaf(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, dtype=dtype, requires_grad=True)
