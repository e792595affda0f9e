"""Several processes on one machine that train one model: the run's own is rank 0, the others are started here.

Lightning would start the others by giving the command again, which in a sweep is the whole sweep. Here they get the
composed config of this run alone (see posenc/jobs/follow.py): they open no run folder and write no result.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from hydra.utils import to_absolute_path
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from omegaconf import DictConfig, OmegaConf
from torch import distributed
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from posenc.checks import ConfigError
from posenc.runs.files import open_file, read_end
from posenc.runs.reading import plain_text

HOST = "127.0.0.1"
LAST_WORDS = 2**16
"""Bytes of a log of which the last line is told."""
PATIENCE = 30
"""Seconds that the other processes have to end after rank 0 has."""


def lost(error: BaseException) -> bool:
    """Whether an error says that another process is gone."""
    return re.search("connection|peer|gloo|nccl|socket", str(error), re.IGNORECASE) is not None


class OneMachine(LightningEnvironment):
    """Rank `rank` of `world` processes that are started already.

    They meet at a store that rank 0 holds, at a port that the system gave it: one that is free when it is looked up may
    be taken by the time the others have started.
    """

    def __init__(self, rank: int, world: int, port: int = 0) -> None:
        super().__init__()
        self.rank, self.world = rank, world
        self.store = TCPStore(HOST, port, world, is_master=rank == 0, wait_for_workers=False)

    @property
    def port(self) -> int:
        """Where the store is."""
        return self.store.port

    @property
    def creates_processes_externally(self) -> bool:
        """Lightning need not start the others."""
        return True

    @property
    def main_address(self) -> str:
        """This machine."""
        return HOST

    def local_rank(self) -> int:
        """Which of the processes this is."""
        return self.rank

    def node_rank(self) -> int:
        """There is one machine."""
        return 0

    def join(self, device: torch.device) -> None:
        """Make the process group that Lightning will find."""
        backend = "nccl" if device.type == "cuda" else "gloo"
        self.store.set(f"joins/{self.rank}", "")
        distributed.init_process_group(backend, store=self.store, rank=self.rank, world_size=self.world)


@dataclass
class Ranks:
    """Rank 0's view of the others. They import while rank 0 builds, and begin when they are sent the config."""

    environment: LightningEnvironment = field(default_factory=LightningEnvironment)
    processes: list[subprocess.Popen[str]] = field(default_factory=list)
    logs: list[Path] = field(default_factory=list)

    def begin(self, config: DictConfig, checkpoint: str | None, device: torch.device) -> None:
        """Let the others begin: with this config, from this checkpoint, on as many threads as this process."""
        if not isinstance(self.environment, OneMachine):
            return
        plain: Any = OmegaConf.to_container(config, resolve=True)
        plain |= {"logger": {}, "ckpt_path": checkpoint, "threads": torch.get_num_threads()}
        plain.get("callbacks", {}).pop("progress", None)
        for process in self.processes:
            assert process.stdin is not None
            with suppress(BrokenPipeError):  # it has died, which is seen below
                process.stdin.write(OmegaConf.to_yaml(OmegaConf.create(plain)))
                process.stdin.close()
        while not self.environment.store.check([f"joins/{rank}" for rank in range(1, self.environment.world)]):
            if any(process.poll() is not None for process in self.processes):
                raise RuntimeError("no connection: a process ended before it began")
            time.sleep(0.02)
        self.environment.join(device)

    def blame(self) -> str | None:
        """The last words of a process that failed of its own accord."""
        for process, log in zip(self.processes, self.logs, strict=True):
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
            if process.poll() not in (None, 0):
                words = read_end(log, LAST_WORDS).decode("utf-8", "replace").strip().splitlines()
                last = plain_text(words[-1]) if words else "without a word"
                return f"process {log.stem} ended ({last}); its words are in {log}"
        return None

    def end(self) -> None:
        """Leave the process group and end what has not ended; the log of a process that failed is kept."""
        if distributed.is_initialized():
            distributed.destroy_process_group()
        for process, log in zip(self.processes, self.logs, strict=True):
            if process.stdin is not None and not process.stdin.closed:
                with suppress(BrokenPipeError):
                    process.stdin.close()
            failed = process.poll() not in (None, 0)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if not failed:
                log.unlink(missing_ok=True)


@contextmanager
def ranks(devices: Any, folder: Path) -> Iterator[Ranks]:
    """The processes of ranks 1 to `devices` − 1, until rank 0 leaves; what is no such number is for others to refuse.

    If one dies, rank 0 learns it from a broken connection; the message then says what that one said.
    """
    if not isinstance(devices, int) or devices < 2:
        yield Ranks()
        return
    most = max(2, os.cpu_count() or 1, torch.cuda.device_count())
    if devices > most:
        raise ConfigError(f"trainer: devices must be at most {most} on this machine, got {devices}.")
    meeting = OneMachine(0, devices)
    group = Ranks(meeting)
    # in a session of their own: what the terminal signals reaches rank 0, which tells the others after a step
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
    environment["OMP_NUM_THREADS"] = str(torch.get_num_threads())
    for rank in range(1, devices):
        log = folder / f"rank{rank}.log"
        log.unlink(missing_ok=True)
        with os.fdopen(open_file(log, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "posenc.jobs.follow", str(rank), str(devices), str(meeting.port), str(folder)],
                stdin=subprocess.PIPE, stdout=file, stderr=subprocess.STDOUT, text=True, env=environment,
                start_new_session=True, cwd=to_absolute_path("."),  # relative paths in the config count from there
            )  # fmt: skip
        group.processes.append(process)
        group.logs.append(log)
    try:
        yield group
        with suppress(subprocess.TimeoutExpired):  # rank 0 has all that is asked for
            for process in group.processes:
                process.wait(PATIENCE)
    except Exception as error:
        blame = group.blame() if lost(error) else None
        if blame is None:
            raise
        raise RuntimeError(blame) from error
    finally:
        group.end()
