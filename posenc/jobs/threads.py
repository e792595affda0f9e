"""The number of threads of a process."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from omegaconf import DictConfig

from posenc import checks
from posenc.runs.processes import place

THREADS = 1024
"""Upper limit of `threads`; above it the operating system may end the process."""


def threads_of(config: DictConfig) -> int | None:
    """The number of threads for this process: `config.threads`, or its share of the machine."""
    if config.threads is not None:
        checks.positive("config", maximum=THREADS, threads=config.threads)
        return config.threads
    here = place()
    local = 1 if here is None else here.world // here.nodes
    return max(1, torch.get_num_threads() // local) if local > 1 else None


@contextmanager
def thread_limit(threads: int | None) -> Iterator[None]:
    """A context manager: torch computes with so many threads; None: no change."""
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
