"""Named random streams: every draw comes from a generator seeded by (seed, name) alone.

Adding a module, a metric or a figure therefore shifts no other draw. Two runs with one seed and different encodings
start from bit-equal shared weights and see bit-equal batches (common random numbers), and batch t of a run can be
drawn without drawing the t batches before it.

torch's CPU engine (mt19937) keeps 32 bits of its seed: two names share a stream with probability 2⁻³².
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


def stream_seed(seed: int, name: str) -> int:
    """A seed below 2⁶³ for the stream `name` of run `seed`."""
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, name: str) -> torch.Generator:
    """A fresh CPU generator at the start of stream (seed, name)."""
    return torch.Generator().manual_seed(stream_seed(seed, name))


@contextmanager
def default_stream(seed: int, name: str) -> Iterator[None]:
    """Inside, torch's default CPU generator is at the start of stream (seed, name); outside, it is as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(stream_seed(seed, name))
        yield


def initialise(model: nn.Module, seed: int) -> None:
    """Draw the weights of each module from the stream of its qualified name.

    Every module that has torch's customary `reset_parameters()` is reset under (seed, "parameters/<its name>"); one
    that has none keeps what its constructor drew. A module has the last word on what it holds: it is reset after them.
    """
    for name, module in reversed([*model.named_modules()]):
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            with default_stream(seed, f"parameters/{name}"):
                reset()
