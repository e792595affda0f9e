"""Loggers opened in a run folder that may hold the beginnings of the same run."""

import csv
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from posenc.checks import ConfigError


def open_logs(loggers: Sequence[Logger], folder: Path, config: dict[str, Any], resume: Path | None = None) -> None:
    """Create the log files; where a run goes on from `resume`, metrics.csv keeps the rows up to that checkpoint.

    Trackers other than metrics.csv and TensorBoard, which has its own, are told the config.

    Lightning's csv logger begins by deleting the file. Its rows are set aside until they are written again.
    """
    path, aside = folder / "metrics.csv", folder / "metrics.csv.part"
    rows = []
    if resume is not None:
        if path.exists() and not aside.exists():
            path.rename(aside)
        step = torch.load(resume, map_location="cpu", weights_only=True)["global_step"]
        rows = _rows(aside, step)
    with warnings.catch_warnings():  # that the folder is not empty is known
        warnings.filterwarnings("ignore", message="Experiment logs directory")
        for logger in loggers:
            experiment = getattr(logger, "experiment", None)
            if isinstance(logger, CSVLogger) and experiment is not None and rows:
                experiment.metrics.extend(rows)
                experiment.save()
            if not isinstance(logger, CSVLogger | TensorBoardLogger):
                logger.log_hyperparams(config)
    aside.unlink(missing_ok=True)


def check_logs(loggers: Sequence[Logger]) -> None:
    """Each folder that a logger writes to must have a name, and a place where it can be made."""
    for logger in loggers:
        if isinstance(logger, CSVLogger | TensorBoardLogger):
            try:
                folder = Path(logger.log_dir).absolute()
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


def _rows(path: Path, steps: int) -> list[dict[str, str]]:
    """Whole rows of the first `steps` steps; Lightning calls the first step 0. A row that was cut off is left out."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if None not in row.values()]
    return [row for row in rows if row["step"].isdecimal() and int(row["step"]) < steps]
