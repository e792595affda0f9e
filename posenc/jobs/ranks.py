"""What the processes of one run tell each other. torchrun, srun or posenc.jobs.workers has started them.

Rank 0 alone opens the run folder, decides what is to be done, and writes. The other ranks hear its decision.
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
from posenc.jobs.threads import thread_limit, threads_of
from posenc.runs.folder import RunFolder
from posenc.runs.processes import Place
from posenc.training.divergence import Diverged, lost
from posenc.training.interrupt import GracefulStop, Interrupted
from posenc.training.trainer import cluster

Tell = Callable[[Any], None]
CPU = torch.device("cpu")


@contextmanager
def joined(here: Place) -> Iterator[None]:
    """Inside is the process group that Lightning will use."""
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
    """For rank 0: the function that tells the other ranks what to do.

    It speaks once: of the work, as `follow` takes it, or with the status with which the others are to end.
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
            with suppress(RuntimeError):  # the others may be gone
                tell(1)
            raise
        tell(0)


def follow(here: Place, own: Path | None = None) -> str | None:
    """For the other ranks: train and test a share. Rank 0 tells of the rest, of a run that diverged and of a
    mistake, which it meets too.

    own  a folder that Hydra has made for this process

    Returns why this process could not go on, if another one is gone. Ends the process where rank 0 does not begin,
    and where a signal has stopped the run.
    """
    heard, stop = [None], GracefulStop()
    try:
        with joined(here), suppress(Diverged, ConfigError):
            distributed.broadcast_object_list(heard, device=CPU)
            if own is not None:
                with suppress(OSError):  # rank 0 may have the same one, and writes there
                    own.rmdir()
            decision: Any = heard[0]
            if isinstance(decision, int):
                sys.exit(decision)
            plain, checkpoint, folder = decision
            plain |= {"logger": {}, "ckpt_path": checkpoint}  # rank 0 writes and prints
            (plain.get("callbacks") or {}).pop("progress", None)
            config = cast(DictConfig, OmegaConf.create(plain))
            try:
                with stop.listening(), thread_limit(threads_of(config)):
                    parts, checkpoint, _ = prepare(config, RunFolder(folder), stop)
                    train(parts, checkpoint)
            except Interrupted as caught:
                if stop.stopping:  # rank 0 too; wait until it ends: a launcher kills all processes when one fails
                    with suppress(RuntimeError):
                        distributed.broadcast_object_list(heard, device=CPU)
                sys.exit(128 + caught.signum)
    except RuntimeError as error:
        if not lost(error):
            raise
        return str(error).partition("\n")[0]
    return None
