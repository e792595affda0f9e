"""Blocks that stay in a CPU's caches, and are computed again in the backward pass: where they pay, how to cut them."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.autograd import Function


def pays(x: Tensor) -> bool:
    """Not on a GPU, which each block would keep waiting, nor in torch.compile, which cannot trace the backward pass."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def apply(blocked: type[Function], definition: Callable[..., Tensor], *operands: Tensor) -> Tensor:
    """`blocked` where it pays, else the `definition` that it equals.

    Without autocast: the backward pass runs outside it, and would compute again something else.
    """
    with torch.autocast(operands[0].device.type, enabled=False):
        answer = blocked.apply(*operands) if pays(operands[0]) else definition(*operands)
    assert isinstance(answer, Tensor)
    return answer


def cut(total: int, size: int) -> Iterator[slice]:
    """0 .. total in slices of `size`; the last may be smaller."""
    return (slice(start, min(total, start + size)) for start in range(0, total, size))
