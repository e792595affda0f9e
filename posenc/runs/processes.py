"""The number of this process, if torchrun or srun has started several processes for a run. Needs no torch."""

import os
from typing import NamedTuple


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
