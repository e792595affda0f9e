"""One line in the terminal that says how far a run is and how it does."""

import multiprocessing
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

REFRESH = 10
"""Steps between two updates of the line."""


class ProgressLine(ProgressBar):
    """Steps done, time left, and the newest training loss and validation scores."""

    def __init__(self) -> None:
        super().__init__()
        self._progress: Progress | None = None

    def disable(self) -> None:
        """Lightning's way of silencing all but the first process."""
        self._enabled = False

    def enable(self) -> None:
        """Show the line."""
        self._enabled = type(self)._enabled

    _enabled = multiprocessing.current_process().name == "MainProcess"  # a launcher's workers share one terminal

    def _open(self, what: str, done: int, total: int) -> None:
        if not self._enabled:
            return
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
        self._progress.add_task(what, total=total, completed=done, scores="")

    def _update(self, done: int, scores: str = "") -> None:
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], completed=done, scores=scores)

    def _close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the line."""
        self._open("training", trainer.global_step, trainer.max_steps)

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Move the line."""
        step = trainer.global_step
        if step % REFRESH == 0 or step == trainer.max_steps:
            self._update(step, self._scores(trainer))

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the finished line in the terminal."""
        self._update(trainer.global_step, self._scores(trainer))
        self._close()

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the line."""
        self._open("testing", 0, int(sum(trainer.num_test_batches)))

    def on_test_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Move the line."""
        if self._progress is not None:
            self._progress.advance(self._progress.task_ids[0])

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the finished line in the terminal."""
        self._close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Give the terminal back."""
        self._close()

    @staticmethod
    def _scores(trainer: L.Trainer) -> str:
        shown = {"train/loss": "loss", "validation/accuracy": "accuracy", "validation/skill": "skill"}
        metrics = trainer.callback_metrics
        return "  ".join(f"{label} {metrics[name]:.3f}" for name, label in shown.items() if name in metrics)
