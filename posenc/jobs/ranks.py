"""Messages between the processes of one run, which torchrun, srun or posenc.jobs.workers has started.

Only rank 0 opens the run folder, decides what to do, and writes. It sends its decision to the other ranks.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf
from torch import distributed

from posenc.checks import ConfigError
from posenc.jobs.run import prepare, train
from posenc.runs.folder import RunFolder
from posenc.runs.processes import Place, thread_limit, threads_of
from posenc.training.divergence import Diverged, lost
from posenc.training.interrupt import GracefulStop, Interrupted
from posenc.training.trainer import cluster

Tell = Callable[[Any], None]
CPU = torch.device("cpu")


@contextmanager
def joined(here: Place) -> Iterator[None]:
    """A context manager with the process group that Lightning will use."""
    environment = cluster(here)
    os.environ |= {"MASTER_ADDR": environment.main_address, "MASTER_PORT": str(environment.main_port)}
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, rank=here.rank, world_size=here.world)
    try:
        yield
    finally:
        distributed.destroy_process_group()


@contextmanager
def leading(here: Place) -> Iterator[Tell]:
    """For rank 0: a context manager that gives the function that tells the other ranks what to do.

    It sends one message: the work, in the form that `follow` needs, or the status with which the others must exit.
    """
    said = list[Any]()

    def tell(decision: Any) -> None:
        if not said:
            said.append(decision)
            distributed.broadcast_object_list([decision], device=CPU)

    with joined(here):
        try:
            yield tell
        except BaseException:
            with suppress(RuntimeError):  # the other ranks may have ended
                tell(1)
            raise
        tell(0)


def follow(here: Place, own: Path | None = None) -> str | None:
    """For the other ranks: train and test a share. Rank 0 meets the same mistakes and divergence and reports them.

    own  a folder that Hydra has made for this process

    Returns the reason if another process is lost, otherwise None. Exits if rank 0 does not begin, or if a signal has
    stopped the run.
    """
    heard, stop = [None], GracefulStop()
    try:
        with joined(here), suppress(Diverged, ConfigError):
            distributed.broadcast_object_list(heard, device=CPU)
            if own is not None:
                with suppress(OSError):  # it may be the folder that rank 0 writes to
                    own.rmdir()
            decision: Any = heard[0]
            if isinstance(decision, int):
                sys.exit(decision)
            plain, checkpoint, folder = decision
            plain |= {"logger": {}, "ckpt_path": checkpoint}  # only rank 0 writes and prints
            (plain.get("callbacks") or {}).pop("progress", None)
            config = cast(DictConfig, OmegaConf.create(plain))
            try:
                with stop.listening(), thread_limit(threads_of(config)):
                    parts, checkpoint, _ = prepare(config, RunFolder(folder), stop)
                    train(parts, checkpoint)
            except Interrupted as caught:
                if stop.stopping:  # wait until rank 0 ends: a launcher kills all processes when one fails
                    with suppress(RuntimeError):
                        distributed.broadcast_object_list(heard, device=CPU)
                sys.exit(128 + caught.signum)
    except RuntimeError as error:
        if not lost(error):
            raise
        return str(error).partition("\n")[0]
    return None
