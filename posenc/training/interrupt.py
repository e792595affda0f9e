"""How a run is asked to stop: by Ctrl-C, by SIGTERM, by a closed terminal (SIGHUP), by SLURM before it ends the job."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn

from posenc.runs.signals import HANGUP, REQUEUE, stop_signals


class Interrupted(Exception):
    """The run was asked to stop by a signal; it is `signum`."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


class GracefulStop(L.Callback):
    """The first SIGINT, SIGTERM or SIGHUP ends training after the step in hand; the second ends the process at once.

    Active inside `listening()`. There the first signal raises `Interrupted` where it arrives, but inside `deferred()`
    it is only noted: `stopping` then says so between two steps, and checkpoints.py raises when it has written one.
    In a SLURM batch job SIGUSR1 is taken the same way.
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
            if each not in (REQUEUE, HANGUP):  # a scheduler and a shell send theirs more than once, and mean one stop
                signal.signal(each, signal.SIG_DFL)
        if not self._deferred:
            raise Interrupted(signum)

    def _listen(self) -> None:
        if threading.current_thread() is threading.main_thread():  # Python allows signal handlers there only
            for each in self._signals:
                signal.signal(each, self._handle)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle signals inside; restore the handlers afterwards."""
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
        """Note a signal inside; raise `Interrupted` at the end if there was one and nothing else was raised."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        if self.received is not None:
            raise Interrupted(self.received)

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Decide once a step, so that all callbacks and all processes see the same."""
        self._decide(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Decide after a validation too, which may take long."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._decide(trainer)

    def _decide(self, trainer: L.Trainer) -> None:
        asked = self.received is not None
        if trainer.world_size > 1:
            asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
        if asked:
            self.stopping, self.received = True, self.received or signal.SIGTERM
