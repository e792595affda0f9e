"""Signals that stop a run: Ctrl-C, SIGTERM, SIGHUP (the terminal was closed), and SLURM's before it ends a job."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn

from posenc.runs.signals import HANGUP, REQUEUE, stop_signals


class Interrupted(Exception):
    """The signal `signum` stopped the run."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


class GracefulStop(L.Callback):
    """The first SIGINT, SIGTERM or SIGHUP ends training after the current step; the second ends the process at once.

    This works inside `listening()`. There the first signal raises `Interrupted` at once. Inside `deferred()` the signal
    is only noted: `stopping` becomes true between two steps, and checkpoints.py saves a checkpoint and then raises
    `Interrupted`. In a SLURM batch job SIGUSR1 does the same.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.stopping = False
        self._deferred = False
        self._signals = stop_signals()

    def _handle(self, signum: int, frame: Any) -> None:
        if self.received is not None and signum in (REQUEUE, HANGUP):
            return
        self.received = signum
        for each in self._signals:
            if each not in (REQUEUE, HANGUP):  # schedulers and shells may send one signal several times
                signal.signal(each, signal.SIG_DFL)
        if not self._deferred:
            raise Interrupted(signum)

    def _listen(self) -> None:
        if threading.current_thread() is threading.main_thread():  # Python allows signal handlers in no other thread
            for each in self._signals:
                signal.signal(each, self._handle)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """A context manager that handles signals and restores the handlers afterwards."""
        before = {each: signal.getsignal(each) for each in self._signals}
        self._listen()
        try:
            yield
        finally:
            if threading.current_thread() is threading.main_thread():
                for each, handler in before.items():
                    signal.signal(each, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """A context manager that notes signals. At its end it raises `Interrupted` if a signal came and no error."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        if self.received is not None:
            raise Interrupted(self.received)

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Decide once in each step, so that all callbacks and all processes see the same decision."""
        self._decide(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Decide after a validation too, because a validation may take long."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._decide(trainer)

    def _decide(self, trainer: L.Trainer) -> None:
        asked = self.received is not None
        if trainer.world_size > 1:
            asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
        if asked:
            self.stopping, self.received = True, self.received or signal.SIGTERM
