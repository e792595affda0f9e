"""The number of this process, if torchrun or srun has started several processes for a run, and its threads."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from omegaconf import DictConfig

from posenc import checks

THREADS = 1024
"""Upper limit of `threads`; above it the operating system may end the process."""


class Place(NamedTuple):
    """Process `rank` of `world` processes, which `launcher` has started on `nodes` machines."""

    rank: int
    world: int
    nodes: int
    launcher: str


def place() -> Place | None:
    """The place of this process among the processes of its run; None if no launcher has started it.

    A batch script of SLURM has most of srun's variables too. Only srun sets SLURM_STEP_NUM_TASKS.
    """
    given = os.environ
    if "TORCHELASTIC_RUN_ID" in given:
        return Place(int(given["RANK"]), int(given["WORLD_SIZE"]), int(given["GROUP_WORLD_SIZE"]), "torchrun")
    if int(given.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        return Place(int(given["SLURM_PROCID"]), int(given["SLURM_NTASKS"]), int(given["SLURM_NNODES"]), "srun")
    return None


def threads_of(config: DictConfig) -> int | None:
    """The number of threads for this process: `config.threads`, or its share of the machine."""
    if config.threads is not None:
        checks.positive("config", maximum=THREADS, threads=config.threads)
        return config.threads
    import torch  # a late import, because reading results needs no torch

    here = place()
    local = 1 if here is None else here.world // here.nodes
    return max(1, torch.get_num_threads() // local) if local > 1 else None


@contextmanager
def thread_limit(threads: int | None) -> Iterator[None]:
    """A context manager: inside, torch computes with `threads` threads; None: no change."""
    import torch

    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
