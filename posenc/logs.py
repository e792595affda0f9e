"""Logs in a run folder that may hold the beginnings of the same run."""

import csv
import io
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from posenc import runs
from posenc.checks import ConfigError

EVENTS = "events.out.tfevents."
"""TensorBoard's files: EVENTS, the second in which a file was begun in ten digits, machine, process, a number."""


class MetricsFile(Logger):
    """<save_dir>/metrics.csv: one row for each time that something is logged, in the order of time.

    A row is on disk when it was logged. A new column means that the file is written anew, beside its place and then
    renamed: whenever the process is killed, the rows so far are there. (Lightning's own logger writes it in place.)
    """

    def __init__(self, save_dir: str) -> None:
        super().__init__()
        if not isinstance(save_dir, str):
            raise ConfigError(f"MetricsFile: save_dir must be a folder, got {save_dir!r}.")
        self.path = Path(save_dir) / "metrics.csv"
        self._columns: list[str] = []

    @property
    def name(self) -> str:
        """Nothing: the folder is the run's own."""
        return ""

    @property
    def version(self) -> str:
        """Nothing: the folder is the run's own."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run folder."""
        return str(self.path.parent)

    def begin(self, steps: int) -> None:
        """Keep the rows of the first `steps` steps; Lightning calls the first step 0. One that was cut off goes too."""
        if not steps or not self.path.exists():
            self.path.unlink(missing_ok=True)
            return
        columns, rows = self._read()
        kept = [
            row for row in rows if None not in row.values() and row["step"].isdecimal() and int(row["step"]) < steps
        ]
        self._write(columns, kept)

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """They are in .hydra/config.yaml."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append a row."""
        row = {**metrics, "step": step}
        new = set(row) - set(self._columns)
        if new:
            rows = self._read()[1] if self.path.exists() else []
            self._write(sorted({*self._columns, *new}), [*rows, row])
            return
        with self.path.open("a", newline="", encoding="utf-8") as file:
            file.write(self._text([row]))

    def flush(self) -> None:
        """Bring the rows to the disk, should the machine itself go down; `save`, asked after each row, does not."""
        if self.path.exists():
            with self.path.open("r+") as file:
                os.fsync(file.fileno())

    def _read(self) -> tuple[list[str], list[dict[str, str]]]:
        with self.path.open(newline="", encoding="utf-8", errors="replace") as file:
            reader = csv.DictReader(file)
            return [*(reader.fieldnames or [])], [*reader]

    def _write(self, columns: list[str], rows: Sequence[Mapping[str, Any]]) -> None:
        self._columns = columns
        runs.write_text(self.path, self._text([dict(zip(columns, columns, strict=True)), *rows]))

    def _text(self, rows: Sequence[Mapping[str, Any]]) -> str:
        text = io.StringIO(newline="")
        csv.DictWriter(text, self._columns).writerows(rows)
        return text.getvalue()


def open_logs(loggers: Sequence[Logger], config: dict[str, Any], steps: int) -> None:
    """Create the log files; a run that goes on from step `steps` keeps what was logged up to there.

    Trackers other than metrics.csv and TensorBoard, which has its own, are told the config.
    """
    for logger in loggers:
        if isinstance(logger, MetricsFile):
            logger.begin(steps)
        elif isinstance(logger, TensorBoardLogger):
            order_events(Path(logger.log_dir))
            logger._kwargs.setdefault("purge_step", steps)  # events of later steps, if any, are shown no more
            _ = logger.experiment
        else:
            _ = getattr(logger, "experiment", None)
            logger.log_hyperparams(config)


def order_events(folder: Path) -> None:
    """Rename event files that a clock which was set back would put behind the next one.

    TensorBoard reads the files of a run in the order of their names, which hold the time at which they were begun, and
    takes back what stands before the beginning of a run. A later file must have a later name.
    """
    files = sorted(folder.glob(f"{EVENTS}*"))
    if not files or _begun(files[-1]) < int(time.time()):
        return
    for number, path in enumerate(files):
        rest = path.name.removeprefix(EVENTS).partition(".")[2]
        path.rename(path.with_name(f"{EVENTS}{number:010}.{rest}"))


def _begun(path: Path) -> int:
    """Seconds in the name of an event file."""
    digits = path.name.removeprefix(EVENTS).partition(".")[0]
    return int(digits) if digits.isdecimal() else 0


def check_logs(loggers: Sequence[Logger]) -> None:
    """Each folder that a logger writes to must have a name, and a place where it can be made."""
    for logger in loggers:
        if isinstance(logger, MetricsFile | CSVLogger | TensorBoardLogger):
            try:
                folder = Path(logger.log_dir or logger.save_dir).absolute()
            except TypeError as error:
                raise ConfigError(
                    f"logger: {type(logger).__name__} cannot name its folder ({error}); "
                    "save_dir, name and version must be words."
                ) from error
            there = next(path for path in (folder, *folder.parents) if path.exists())
            if not there.is_dir() or not os.access(there, os.W_OK):
                raise ConfigError(f"logger: {folder} cannot be made in {there}; choose another save_dir or name.")


def close_logs(loggers: Sequence[Logger]) -> None:
    """End what a tracker would carry over into the next run of a sweep; Lightning leaves it open."""
    for logger in loggers:
        finish = getattr(getattr(logger, "experiment", None), "finish", None)
        if callable(finish):
            finish()
