"""Runs of train.py in forked processes: real ones, to be killed, that need not import torch anew."""

import ctypes
import mmap
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import train
from posenc.jobs.launch import launch
from posenc.training.checkpoint_file import DurableFiles
from posenc.training.module import SequenceModule

PHASES = ("set-up", "training", "validation", "test", "checkpoint")


def give(words: Sequence[str]) -> int:
    """`python train.py WORDS` in this process: its exit status, after a traceback if there is one."""
    sys.argv = ["train.py", *words]
    os.environ.pop("HYDRA_FULL_ERROR", None)
    try:
        launch(train.main, train.CONFIGS)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


@dataclass
class Child:
    """`python train.py ARGUMENTS` in a process of its own; what it prints goes to `log`."""

    arguments: list[str]
    log: Path
    pid: int = 0
    status: int | None = None
    _phase: mmap.mmap = field(default_factory=lambda: mmap.mmap(-1, 1))

    def start(self) -> "Child":
        """Fork."""
        self.pid = os.fork()
        if self.pid == 0:
            os._exit(self._run())
        return self

    def _run(self) -> int:
        # a child must not outlive a script that is stopped
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        handle = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        self._watch()
        status = give(self.arguments)
        sys.stdout.flush()
        sys.stderr.flush()
        return status

    def _watch(self) -> None:
        """Let the parent see what the child is at."""
        self._mark(SequenceModule, "training_step", 1)
        self._mark(SequenceModule, "validation_step", 2)
        self._mark(SequenceModule, "test_step", 3)
        self._mark(DurableFiles, "save_checkpoint", 4, back=True)

    def _mark(self, owner: type, name: str, phase: int, back: bool = False) -> None:
        inner: Callable[..., Any] = getattr(owner, name)

        def marked(*arguments: Any, **named: Any) -> Any:
            before, self._phase[0] = self._phase[0], phase
            answer = inner(*arguments, **named)
            if back:
                self._phase[0] = before
            return answer

        setattr(owner, name, marked)

    @property
    def phase(self) -> str:
        """What it is at, or was when it ended."""
        return PHASES[self._phase[0]]

    def ended(self) -> bool:
        """Whether it has ended; `status` is then the exit status, or minus the signal."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is not None

    def wait(self, limit: float = 300) -> int:
        """Its exit status."""
        end = time.monotonic() + limit
        while not self.ended():
            if time.monotonic() > end:
                self.kill()
                raise TimeoutError(f"still at work after {limit:g} s: {' '.join(self.arguments)}")
            time.sleep(0.002)
        assert self.status is not None
        return self.status

    def send(self, signum: int) -> None:
        """Signal it, if it has not ended."""
        if not self.ended():
            os.kill(self.pid, signum)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.send(signal.SIGKILL)
        while not self.ended():
            time.sleep(0.002)


def finished(arguments: Sequence[str], log: Path) -> None:
    """A run in a child that must complete."""
    status = Child([*arguments], log).start().wait()
    assert status == 0, log.read_text()
