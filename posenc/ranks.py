"""Several processes on one machine that train one model: the run's own is rank 0, the others are started here.

Lightning would start the others by giving the command again, which in a sweep is the whole sweep. Here they get the
composed config of this run alone (see posenc/follow.py): they open no run folder and write no result.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment, find_free_network_port
from omegaconf import DictConfig, OmegaConf

PATIENCE = 30
"""Seconds that the other processes have to end after rank 0 has."""


class OneMachine(LightningEnvironment):
    """Rank `rank` of processes that are started already and meet at `port`."""

    def __init__(self, rank: int, port: int) -> None:
        super().__init__()
        self._rank, self._main_port = rank, port

    @property
    def creates_processes_externally(self) -> bool:
        """Lightning need not start the others."""
        return True

    @property
    def main_address(self) -> str:
        """This machine."""
        return "127.0.0.1"

    def local_rank(self) -> int:
        """Which of the processes this is."""
        return self._rank

    def node_rank(self) -> int:
        """There is one machine."""
        return 0


@dataclass
class Ranks:
    """Rank 0's view of the others. They import while rank 0 builds, and begin when they are sent the config."""

    environment: LightningEnvironment = field(default_factory=LightningEnvironment)
    processes: list[subprocess.Popen[str]] = field(default_factory=list)
    logs: list[Path] = field(default_factory=list)

    def send(self, config: DictConfig, checkpoint: str | None) -> None:
        """Let the others begin: with this config, from this checkpoint, on as many threads as this process."""
        if not self.processes:
            return
        plain: Any = OmegaConf.to_container(config, resolve=True)
        plain |= {"logger": {}, "ckpt_path": checkpoint, "threads": torch.get_num_threads()}
        plain.get("callbacks", {}).pop("progress", None)
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write(OmegaConf.to_yaml(OmegaConf.create(plain)))
            process.stdin.close()

    def blame(self) -> str | None:
        """The last words of a process that failed of its own accord."""
        for process, log in zip(self.processes, self.logs, strict=True):
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
            if process.poll() not in (None, 0):
                words = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
                return f"process {log.stem} ended ({words[-1] if words else 'without a word'}); its words are in {log}"
        return None


@contextmanager
def ranks(devices: Any, folder: Path) -> Iterator[Ranks]:
    """The processes of ranks 1 to `devices` − 1, until rank 0 leaves; what is no such number is for others to refuse.

    If one dies, rank 0 learns it from a broken connection; the message then says what that one said.
    """
    if not isinstance(devices, int) or devices < 2:
        yield Ranks()
        return
    port = find_free_network_port()
    group = Ranks(OneMachine(0, port))
    # in a session of their own: what the terminal signals reaches rank 0, which tells the others after a step
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
    environment["OMP_NUM_THREADS"] = str(torch.get_num_threads())
    for rank in range(1, devices):
        log = folder / f"rank{rank}.log"
        with log.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "posenc.follow", str(rank), str(port), str(folder)],
                stdin=subprocess.PIPE, stdout=file, stderr=subprocess.STDOUT, text=True, env=environment,
                start_new_session=True,
            )  # fmt: skip
        group.processes.append(process)
        group.logs.append(log)
    try:
        yield group
        for process in group.processes:
            process.wait(PATIENCE)
    except Exception as error:
        blame = group.blame() if re.search("connection|peer|gloo|nccl", str(error), re.IGNORECASE) else None
        if blame is None:
            raise
        raise RuntimeError(blame) from error
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        for process, log in zip(group.processes, group.logs, strict=True):
            if process.stdin is not None and not process.stdin.closed:
                process.stdin.close()
            failed = process.poll() not in (None, 0)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if not failed:
                log.unlink(missing_ok=True)
