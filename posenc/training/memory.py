"""Memory: bytes that a forward pass keeps for backward, reuse of freed memory, and the error if there is too little."""

import ctypes
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from posenc.training.data import SequenceData
from posenc.training.module import SequenceModule

UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def keep_freed() -> bool:
    """Let the C library keep up to 1 GiB of freed memory for the next step. Returns whether it does.

    Each step frees its activations, and the next step allocates the same again. glibc returns large blocks to the
    system, and the system must then map each page again. On two Zen 4 cores at 128 × 32 tokens in bfloat16 this takes a
    sixth of a step. This function sets for the process what MALLOC_TRIM_THRESHOLD_ and MALLOC_MMAP_THRESHOLD_ set;
    other C libraries do not have these settings.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc, or no C library that ctypes can load
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, 32 * 2**20)) and bool(mallopt(M_TRIM_THRESHOLD, 2**30))


def kept_for_backward(model: nn.Module, forward: Callable[[], Any]) -> list[Tensor]:
    """The tensors that `forward` keeps for backward, each storage once, without the model's parameters and buffers."""
    kept: dict[int, Tensor] = {}

    def pack(x: Tensor) -> Tensor:
        kept[x.untyped_storage()._cdata] = x.detach()
        return x.detach()  # x may be an output of the graph; keeping x would then keep the graph for ever

    with saved_tensors_hooks(pack, lambda x: x):
        forward()
    own = {tensor.untyped_storage()._cdata for tensor in model.state_dict(keep_vars=True).values()}
    return [x for place, x in kept.items() if place not in own]


def saved_bytes(model: nn.Module, forward: Callable[[], Any]) -> int:
    """Bytes that `forward` keeps for backward."""
    return sum(x.untyped_storage().nbytes() for x in kept_for_backward(model, forward))


def explain(error: BaseException, module: SequenceModule, data: SequenceData) -> str:
    """A message: how much memory was needed, the largest tensor, and which value to lower.

    Training keeps what backward needs, for the whole batch. This is measured on one sequence and multiplied. Evaluation
    keeps nothing, so the largest tensor is the one that could not be allocated.
    """
    found = re.search(r"tried to allocate ([\d.]+) ?(\w+)", str(error), re.IGNORECASE)
    asked = f" ({_size(float(found[1]) * UNITS.get(found[2], 1))} were asked for at once)" if found else ""
    longest = module.task.length[1]
    if not module.training:
        most, furthest = data.eval_tokens_per_batch, max(data.test_lengths, default=longest)
        return (
            f"out of memory in an evaluation{asked}; lower data.eval_tokens_per_batch (now {most}), or leave the "
            f"longest of dataset.test_lengths out (now {furthest})."
        )
    remedy = (
        f"lower data.batch_size (now {data.batch_size}), dataset.length (now {longest}), model.dim or model.num_layers."
    )
    try:
        tokens, _ = module.task.sample(torch.Generator().manual_seed(0), 1, longest)
        kept = kept_for_backward(module, lambda: module(tokens.to(module.device)))
    except Exception:  # not even one sequence fits
        return f"out of memory{asked}, by one sequence of length {longest} already; lower dataset.length or model.dim."
    largest = max(kept, key=lambda x: x.untyped_storage().nbytes())
    shape, name = tuple(largest.shape), str(largest.dtype).removeprefix("torch.")
    total = data.batch_size * sum(x.untyped_storage().nbytes() for x in kept)
    one = data.batch_size * largest.untyped_storage().nbytes()
    return (
        f"out of memory{asked}: a training batch of {data.batch_size} sequences of length {longest} keeps "
        f"{_size(total)} for its backward pass; the largest tensor takes {_size(one)} of them, {name} "
        f"{data.batch_size} × {shape}; {remedy}"
    )


def _size(size: float) -> str:
    for unit in ("GiB", "MiB"):
        if size >= UNITS[unit]:
            return f"{size / UNITS[unit]:.1f} {unit}"
    return f"{size / UNITS['KiB']:.1f} KiB"
