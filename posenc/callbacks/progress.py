"""Shows the progress and the scores of a run: one changing line in a terminal, printed lines elsewhere."""

import multiprocessing
import sys
import time
from collections.abc import Callable
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

REFRESH = 10
"""Steps between two updates of the line."""
SILENCE = 30.0
"""Seconds after which the next step prints a line, if stdout is not a terminal."""

Scores = Callable[[], str]


class _Bar:
    """One changing line, for a terminal."""

    def __init__(self, what: str, done: int, total: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[scores]}"),
            refresh_per_second=4,
        )
        self._progress.start()
        self._task = self._progress.add_task(what, total=total, completed=done, scores="")

    def update(self, done: int, scores: Scores) -> None:
        if done % REFRESH == 0:
            self.tell(done, scores)

    def aim(self, total: int) -> None:
        self._progress.update(self._task, total=total)

    def tell(self, done: int, scores: Scores) -> None:
        self._progress.update(self._task, completed=done, scores=scores())

    def close(self) -> None:
        self._progress.stop()


class _Lines:
    """Printed lines such as `training 250/1,000  loss 0.123`, for a file, a pipe or a batch job."""

    def __init__(self, what: str, done: int, total: int, clock: Callable[[], float]) -> None:
        self._what, self._total, self._clock = what, total, clock
        self._told: tuple[int, str] | None = None
        self.tell(done, str)

    def update(self, done: int, scores: Scores) -> None:
        if self._clock() - self._at >= SILENCE:
            self.tell(done, scores)

    def aim(self, total: int) -> None:
        self._total = total

    def tell(self, done: int, scores: Scores) -> None:
        now = done, scores()
        if now != self._told:
            print(f"{self._what} {done:,}/{self._total:,}  {now[1]}".rstrip(), flush=True)
        self._told, self._at = now, self._clock()

    def close(self) -> None:
        pass


class ProgressLine(ProgressBar):
    """Shows the steps done, the time left, and the newest training loss and validation scores.

    If stdout is not a terminal, a line is printed at the beginning of training and of the test, at each validation, and
    at the first step after `SILENCE` seconds without a line.

    clock  returns the seconds since a fixed moment; used only if stdout is not a terminal
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._line: _Bar | _Lines | None = None
        self._tested = 0

    def disable(self) -> None:
        """Hide the line. Lightning calls this in every process except the first."""
        self._enabled = False

    def enable(self) -> None:
        """Show the line."""
        self._enabled = type(self)._enabled

    _enabled = multiprocessing.current_process().name == "MainProcess"  # the workers of a launcher share one terminal

    def _open(self, what: str, done: int, total: int) -> None:
        if self._enabled:
            terminal = sys.stdout.isatty()
            self._line = _Bar(what, done, total) if terminal else _Lines(what, done, total, self._clock)

    def _close(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the line."""
        self._open("training", trainer.global_step, trainer.max_steps)

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Update the line."""
        if self._line is not None:
            self._line.update(trainer.global_step, lambda: self._scores(trainer))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the new scores, and the new last step if the validation has set one."""
        if self._line is not None:
            self._line.aim(trainer.max_steps)
            self._line.tell(trainer.global_step, lambda: self._scores(trainer))

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the finished line in the terminal."""
        if self._line is not None:
            self._line.tell(trainer.global_step, lambda: self._scores(trainer))
        self._close()

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the line."""
        self._tested = 0
        self._open("testing", 0, int(sum(trainer.num_test_batches)))

    def on_test_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Update the line."""
        self._tested += 1
        if self._line is not None:
            self._line.update(self._tested, str)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the finished line in the terminal."""
        if self._line is not None:
            self._line.tell(self._tested, str)
        self._close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Close the line, so that the terminal works as before."""
        self._close()

    @staticmethod
    def _scores(trainer: L.Trainer) -> str:
        shown = {"train/loss": "loss", "validation/accuracy": "accuracy", "validation/skill": "skill"}
        metrics = trainer.callback_metrics
        return "  ".join(f"{label} {metrics[name]:.3f}" for name, label in shown.items() if name in metrics)
