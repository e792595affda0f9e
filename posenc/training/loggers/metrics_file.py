"""metrics.csv, and log files of a run that goes on: rows of steps that are run again are removed."""

import csv
import io
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from posenc.checks import ConfigError
from posenc.runs.files import EVENTS, open_file, read_bytes
from posenc.runs.reading import TABLE
from posenc.runs.writing import write_text


class MetricsFile(Logger):
    """<save_dir>/metrics.csv: one row for each call of `log_metrics`, in order of time.

    Each row is written at once. For a new column the whole file is written under another name and renamed. So no row is
    lost if the process is killed. (Lightning's own logger overwrites the file.)
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
        """Keep the rows of the first `steps` steps (Lightning calls the first step 0). A cut-off row is removed too.

        A damaged row, for example with a flipped bit, is moved to metrics_damaged.csv, and a message says so. The run
        itself is complete.
        """
        if not steps:
            self.path.unlink(missing_ok=True)
            return
        try:
            text = read_bytes(self.path, TABLE).decode("utf-8", "replace")
        except FileNotFoundError:
            return
        except ValueError as error:
            raise ConfigError(
                f"{self.path} cannot be read ({error}); remove it to continue without the rows so far."
            ) from error
        columns, kept, damaged = whole_rows(text, steps)
        if damaged:
            aside = self.path.with_name("metrics_damaged.csv")
            with self._open(aside, os.O_WRONLY | os.O_CREAT | os.O_APPEND) as file:
                file.writelines(f"{line}\n" for line in damaged)
            rows = "1 row is" if len(damaged) == 1 else f"{len(damaged):,} rows are"
            print(f"{self.path}: {rows} damaged and moved to {aside.name}; the run continues.", flush=True)
        self._columns = columns
        self._write(kept)

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Does nothing: .hydra/config.yaml has the config."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append a row."""
        row = {**metrics, "step": step}
        new = set(row) - set(self._columns)
        if new:
            columns = sorted({*self._columns, *new})
            places = [self._columns.index(name) if name in self._columns else None for name in columns]
            rows = [["" if k is None else old[k] for k in places] for old in self._rows()]
            self._columns = columns
            self._write([*rows, self._fields(row)])
            return
        with self._open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) as file:
            csv.writer(file).writerow(self._fields(row))

    def flush(self) -> None:
        """Flush the rows to the disk, in case the machine stops. `save` does not: it is called after each row."""
        with suppress(FileNotFoundError), self._open(self.path, os.O_WRONLY | os.O_APPEND) as file:
            os.fsync(file.fileno())

    @staticmethod
    def _open(path: Path, flags: int) -> TextIO:
        return os.fdopen(open_file(path, flags), "a", newline="", encoding="utf-8")

    def _fields(self, row: Mapping[str, Any]) -> list[Any]:
        return [row.get(name, "") for name in self._columns]

    def _rows(self) -> list[list[str]]:
        """The rows that this process has written or kept."""
        if not self._columns:
            return []
        text = read_bytes(self.path, sys.maxsize).decode("utf-8")
        return [*csv.reader(io.StringIO(text, newline=""))][1:]

    def _write(self, rows: Sequence[Sequence[Any]]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text).writerows([self._columns, *rows] if self._columns else [])
        write_text(self.path, text.getvalue())


def whole_rows(text: str, steps: int) -> tuple[list[str], list[list[str]], list[str]]:
    """(columns, rows of the first `steps` steps, damaged lines) of a metrics.csv.

    Each line is checked by itself, because a flipped bit can make a comma, a quote or a line end, and only that line
    should be lost. A good line has as many fields as there are columns. A field is a number or empty; the step is a
    whole number. A last line without a line end was cut off when the process was killed, and rows of later steps are
    run again. Neither counts as damaged.
    """
    *ended, _ = text.split("\n")
    head, *lines = [line.removesuffix("\r") for line in ended] or [""]
    columns = _fields_of(head)
    doubtful = len({*columns}) < len(columns) or "\ufffd" in head or not head.isprintable()
    if "step" not in columns or doubtful:
        return [], [], [head, *lines] if ended else []
    place = columns.index("step")
    kept, damaged, later = list[list[str]](), list[str](), list[str]()
    for line in lines:
        fields = _fields_of(line)
        whole = len(fields) == len(columns) and all(map(_is_number, fields))
        if not whole or not re.fullmatch("[0-9]{1,18}", fields[place]):
            damaged.append(line)
        elif int(fields[place]) >= steps:
            later.append(line)
        else:
            damaged += later  # a line between earlier steps is not of a later step
            later = []
            kept.append(fields)
    return columns, kept, damaged


def _fields_of(line: str) -> list[str]:
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error:
        return []


def _is_number(field: str) -> bool:
    try:
        float(field or 0)
    except ValueError:
        return False
    return True


def open_logs(loggers: Sequence[Logger], config: dict[str, Any], steps: int) -> None:
    """Create the log files. A run that goes on from step `steps` keeps the rows up to that step.

    Loggers other than metrics.csv and TensorBoard receive the config.
    """
    for logger in loggers:
        if isinstance(logger, MetricsFile):
            logger.begin(steps)
        elif isinstance(logger, TensorBoardLogger):
            order_events(Path(logger.log_dir))
            logger._kwargs.setdefault("purge_step", steps)  # TensorBoard hides events of later steps
            _ = logger.experiment
        else:
            _ = getattr(logger, "experiment", None)
            logger.log_hyperparams(config)


def order_events(folder: Path) -> None:
    """Rename event files whose time is in the future, which happens if the clock was set back.

    The name of an event file has the time of its creation, and TensorBoard reads the files in the order of their names.
    The next file must be the last, because it makes TensorBoard hide events of steps that are run again.
    """
    files = sorted(folder.glob(f"{EVENTS}*"))
    if not files or _begun(files[-1]) < int(time.time()):
        return
    for number, path in enumerate(files):
        rest = path.name.removeprefix(EVENTS).partition(".")[2]
        path.rename(path.with_name(f"{EVENTS}{number:010}.{rest}"))


def _begun(path: Path) -> int:
    """The time, in seconds, in the name of an event file."""
    digits = path.name.removeprefix(EVENTS).partition(".")[0]
    return int(digits) if digits.isdecimal() else 0


def check_logs(loggers: Sequence[Logger], run: Path) -> None:
    """Raise ConfigError if the folder of a logger has no name or cannot be made.

    Inside the run folder it must not be a link, because the logs would be written outside the run folder.
    """
    for logger in loggers:
        if isinstance(logger, MetricsFile | CSVLogger | TensorBoardLogger):
            try:
                folder = Path(logger.log_dir or logger.save_dir).absolute()
            except TypeError as error:
                raise ConfigError(
                    f"logger: {type(logger).__name__} cannot name its folder ({error}); "
                    "save_dir, name and version must be words."
                ) from error
            for way in (folder, *folder.parents):
                if run.absolute() in way.parents and way.is_symlink():
                    raise ConfigError(f"logger: {way} is a link to another folder; remove it, or choose another name.")
            there = next(path for path in (folder, *folder.parents) if path.exists())
            if not there.is_dir() or not os.access(there, os.W_OK):
                raise ConfigError(f"logger: {folder} cannot be made in {there}; choose another save_dir or name.")


def close_logs(loggers: Sequence[Logger]) -> None:
    """Close loggers that Lightning leaves open. Otherwise the next run of a sweep would log to the same run."""
    for logger in loggers:
        finish = getattr(getattr(logger, "experiment", None), "finish", None)
        if callable(finish):
            finish()
