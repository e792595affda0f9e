"""Builds all objects of a run from a composed config. Classes get plain values and other objects, never a config."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
from omegaconf import DictConfig, OmegaConf

from posenc import checks
from posenc.checks import ConfigError
from posenc.config.make import make
from posenc.config.resume import record_of, run_folder
from posenc.model.encoder import Encoder
from posenc.positions.schemes import PositionScheme
from posenc.runs import reading
from posenc.runs.result import RESULT
from posenc.streams import default_stream, initialise
from posenc.tasks.base import Task
from posenc.training.checkpoints import Checkpoints
from posenc.training.data import SequenceData
from posenc.training.interrupt import GracefulStop
from posenc.training.loggers.metrics_file import check_logs
from posenc.training.module import SequenceModule
from posenc.training.stopping.criterion import Criterion
from posenc.training.stopping.milestones import Milestones
from posenc.training.trainer import Stopwatch


@dataclass
class Parts:
    """All objects of a run."""

    task: Task
    module: SequenceModule
    data: SequenceData
    trainer: L.Trainer
    stopwatch: Stopwatch
    stop: GracefulStop
    milestones: Milestones
    criterion: Criterion | None = None

    @property
    def checkpoints(self) -> Checkpoints:
        """The callback that saves checkpoints."""
        (found,) = (each for each in self.trainer.callbacks if isinstance(each, Checkpoints))  # pyright: ignore[reportAttributeAccessIssue]
        return found

    @property
    def best_validation_loss(self) -> float | None:
        """The lowest validation loss so far; None before the first validation."""
        return self.checkpoints.best if math.isfinite(self.checkpoints.best) else None


def build(config: DictConfig, folder: Path, stop: GracefulStop | None = None) -> Parts:
    """Build everything that `config` describes. Every mistake in it raises ConfigError before any work starts.

    stop  the object that listens to signals
    """
    seed = check_seed(config.seed)
    task: Task = make(config, "dataset")
    module = build_module(config, task)
    data: SequenceData = make(config, "data", task=task, seed=seed)
    data.known = module.known
    callbacks, logger = ([*make(config, group).values()] for group in ("callbacks", "logger"))
    check_logs(logger, folder)
    stopwatch, stop, milestones = Stopwatch(), stop or GracefulStop(), Milestones()
    criterion: Criterion | None = None if config.get("stop") is None else make(config, "stop")
    watching = [stopwatch, milestones] if criterion is None else [stopwatch, milestones, criterion]
    trainer: L.Trainer = make(
        config, "trainer", folder=folder, callbacks=[*watching, *callbacks], logger=logger, stop=stop
    )
    if criterion is not None:
        criterion.take(module, trainer)
    return Parts(task, module, data, trainer, stopwatch, stop, milestones, criterion)


def build_module(config: DictConfig, task: Task, trusted: bool = True, trained_by: str | None = None) -> SequenceModule:
    """The LightningModule. Its weights are drawn from the streams of `config.seed`.

    trusted     as in `make`
    trained_by  a checkpoint of another run, if the module will get weights from that run; None: `config.start_from`
    """
    optimizer = make(config, "optimizer", trusted=trusted)
    if not callable(optimizer):
        raise ConfigError("optimizer: posenc builds it with the model's parameters; set optimizer._partial_=true.")
    encoder, positions = build_encoder(config, task.vocab_size, task.num_outputs, trusted)
    trained_by = trained_by or config.get("start_from")
    if trained_by is not None:
        _trained_before(trained_by, encoder, positions)
    parts = {"encoder": encoder, "positions": positions, "task": task, "optimizer": optimizer}
    return make(config, "module", trusted=trusted, **parts, seed=config.seed)


def build_encoder(
    config: DictConfig, vocab_size: int, num_outputs: int, trusted: bool = True
) -> tuple[Encoder, PositionScheme]:
    """The encoder and its position scheme. The weights are drawn from the streams of `config.seed`."""
    seed = check_seed(config.seed)
    with default_stream(seed, "constructors"):
        parts = {"encoding": make(config, "encoding", trusted=trusted), "num_outputs": num_outputs}
        encoder: Encoder = make(config, "model", trusted=trusted, vocab_size=vocab_size, **parts)
    initialise(encoder, seed)
    return encoder, make(config, "positions", trusted=trusted)


def check_seed(seed: Any) -> int:
    """The seed, if it is a whole number ≥ 0."""
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ConfigError(f"seed must be a whole number ≥ 0, got {seed!r}; in a sweep write seed=0,1,2.")
    return seed


def _trained_before(start_from: str, encoder: Encoder, positions: PositionScheme) -> None:
    """Tell encoder and positions the length at which the weights were trained. This run's length may differ."""
    length = trained_tokens(start_from)
    parts: list[Any] = [positions, *encoder.modules()]
    if length is not None:
        positions.trained_at(length)
        encoder.trained_at(length, positions.reach(length))
    elif any(getattr(part, "original_length", 0) is None for part in parts):
        raise ConfigError(
            f"start_from={start_from}: its trained length is unknown; set "
            "encoding.original_length (or that of positions or model.logit_scale) in tokens."
        )


def trained_tokens(checkpoint: str, depth: int = 0) -> int | None:
    """Tokens in the longest training sequence of the run that wrote `checkpoint`; None if no file says it."""
    folder = run_folder(checkpoint)
    if folder is None or depth > 8:
        return None
    record = OmegaConf.create(record_of(folder))
    assert isinstance(record, DictConfig)
    if record.get("start_from"):
        return trained_tokens(str(record.start_from), depth + 1)
    try:
        said = reading.read_json(folder / RESULT)["trained_tokens"]
        checks.positive("result", trained_tokens=said)
        return said
    except (OSError, ValueError, TypeError, KeyError):  # earlier versions of posenc did not record it
        pass
    try:
        return build_module(record, make(record, "dataset", trusted=False), trusted=False).trained_tokens
    except Exception:  # the record may be from another program or version
        return None
