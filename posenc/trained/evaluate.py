"""Tests the weights of a finished run under a changed config, without training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import lightning as L
from omegaconf import DictConfig, OmegaConf, open_dict

from posenc.checks import ConfigError
from posenc.config.build import build_module
from posenc.config.make import make
from posenc.runs.identity import config_hash, digest, settings, start_digest
from posenc.runs.reading import plain_text, short
from posenc.runs.result import chosen
from posenc.tasks.base import Task
from posenc.tasks.parts import corpus
from posenc.trained.change import changed, choices, differences
from posenc.trained.load import Record
from posenc.training import memory
from posenc.training.checkpoints import read_weights
from posenc.training.data import SequenceData
from posenc.training.divergence import ran_out
from posenc.training.evaluation.run_test import achievable, make_ready, run_test
from posenc.training.module import SequenceModule
from posenc.training.trainer import make_trainer

OF_TRAINING = (
    "seed", "start_from", "start_digest", "trained_lengths", "trained_tokens", "parameters", "encoding_parameters",
    "steps", "seconds",
)  # fmt: skip
"""Keys of the run's result that the result of an evaluation copies."""
OF_THE_SEED = ("seed", "start_from", "ckpt_path")
"""Settings that may differ between the runs of one arm."""


@dataclass(frozen=True)
class Evaluation:
    """A run to test, and the overrides that change its config.

    lengths  the test lengths; None: those of the run
    trust    whether the run is the user's own, and may build any class (posenc.config.allowed)
    """

    run: Record
    words: Sequence[str] = ()
    lengths: Sequence[int] | None = None
    trust: bool = False

    @cached_property
    def config(self) -> DictConfig:
        """The changed config. The key `evaluated` says what was trained, and distinguishes it from a run's config."""
        config = changed(self.run.config, self.words, self.lengths)
        used = self.run.result.get("precision")
        if config.trainer.precision == "auto" and isinstance(used, str):
            config.trainer.precision = used
        trained = {key: value for key, value in settings(self._recorded).items() if key not in OF_THE_SEED}
        mark = {"encoding": chosen(self.run.result)[1], "config": digest(trained)}
        with open_dict(config):
            config.evaluated = mark | {"weights": start_digest(str(self.run.checkpoint.absolute()))}
        return config

    @property
    def _recorded(self) -> dict[str, Any]:
        return cast(dict[str, Any], OmegaConf.to_container(self.run.config))

    @cached_property
    def plain(self) -> dict[str, Any]:
        """The changed config as plain values."""
        return cast(dict[str, Any], OmegaConf.to_container(self.config))

    @property
    def changes(self) -> dict[str, list[Any]]:
        """{key: [value in the run, value in the evaluation]} of all changed keys."""
        recorded = self._recorded
        if recorded["trainer"]["precision"] == "auto":
            recorded["trainer"]["precision"] = self.run.result.get("precision", "auto")
        found = differences(recorded, self.plain)
        return {key: pair for key, pair in found.items() if not key.startswith("evaluated.")}

    @cached_property
    def record(self) -> dict[str, Any]:
        """The part of the result that is known before the test."""
        result = self.run.result
        named = {group: result.get(group, "none") for group in ("encoding", "positions", "dataset")}
        asked = choices(self.words)
        named |= {} if "encoding" in asked else {"recipe": result.get("recipe")}  # a recipe includes its encoding
        return {
            "schema": result["schema"], "status": "completed", "error": None,
            **named, **asked, **{key: result[key] for key in OF_TRAINING if key in result},
            "config_hash": config_hash(self.plain),
            "data_digest": corpus.data_digest(self.plain["dataset"]),
            "tokens_per_second": None,
            "evaluated": {
                "run": str(self.run.folder),
                "checkpoint": self.run.checkpoint.name,
                "config_hash": result.get("config_hash"),
                **self.plain["evaluated"],
                "changes": self.changes,
            },
        }  # fmt: skip


@dataclass(frozen=True)
class Ready:
    """The objects that a test needs."""

    module: SequenceModule
    data: SequenceData
    trainer: L.Trainer


def build(evaluation: Evaluation, folder: Path) -> Ready:
    """Build the objects of the test. Raises ConfigError for every mistake, before the test begins."""
    run, config, trust = evaluation.run, evaluation.config, evaluation.trust
    task: Task = make(config, "dataset", trusted=trust)
    if len({OmegaConf.select(each, "dataset.path") for each in (config, run.config)}) == 1:
        run.check_data(evaluation.record["data_digest"] or task.digest)
    elif task.learns_tokens:
        raise ConfigError(
            f"{' '.join(evaluation.words)}: the tokens of {run.folder} were learned from its own text and do not fit "
            "another text; train with dataset.tokenizer=FILE.json to test on several texts."
        )
    module = build_module(config, task, trust, trained_by=str(run.checkpoint))
    _give_weights(module, evaluation)
    data: SequenceData = make(config, "data", trusted=trust, task=task, seed=module.seed)
    data.known = module.known
    how = {key: config.trainer[key] for key in ("precision", "accelerator", "compile") if key in config.trainer}
    trainer = make_trainer(folder, **how)
    make_ready(module.eval(), data, trainer)
    if not module.test_lengths:
        why = min(module.undefined.items())[1]
        raise ConfigError(f"{run.folder}: the model is undefined at all test lengths: {why}")
    return Ready(module, data, trainer)


def test(parts: Ready) -> dict[str, Any]:
    """Run the test. Returns the scores, the ceilings and the precision."""
    try:
        scores = run_test(parts.module, parts.data, parts.trainer)
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        raise ConfigError(memory.explain(error, parts.module, parts.data)) from error
    return scores | achievable(parts.module) | {"precision": str(parts.trainer.precision)}


def _give_weights(module: SequenceModule, evaluation: Evaluation) -> None:
    """Load the weights of the run. Raises ConfigError unless its parameters are exactly those of the module."""
    run = evaluation.run
    try:
        theirs = read_weights(str(run.checkpoint), module, named=False)["state_dict"]
    except ConfigError as error:
        raise ConfigError(str(error).removeprefix("ckpt_path=")) from error
    own, asked = module.state_dict(), " ".join(evaluation.words) or "its config"
    for name, what in (("encoder.tokens.weight", "tokens"), ("encoder.head.weight", "classes")):
        if name in own and name in theirs and len(own[name]) != len(theirs[name]):
            raise ConfigError(
                f"{asked}: {module.task} has {len(own[name])} {what}, but {run.folder} was trained on "
                f"{len(theirs[name])}; choose a task with {len(theirs[name])} {what}."
            )
    shapes = [{name: getattr(each, "shape", None) for name, each in state.items()} for state in (own, theirs)]
    odd = sorted((name for name in {*own, *theirs} if shapes[0].get(name) != shapes[1].get(name)), key=str)
    if odd:
        raise ConfigError(
            f"{asked}: {run.folder} {_difference(odd[0], *shapes)}. An evaluation changes no parameter; train a run "
            f"instead, with start_from={run.checkpoint} if the parameters fit."
        )
    module.load_state_dict(theirs)


def _difference(name: str, own: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    said = short(plain_text(str(name)))
    if name not in theirs:
        return f"has no parameters {said}"
    if name not in own:
        return f"has parameters {said}, which this config does not use"
    return f"has {said} of shape {tuple(theirs[name] or ())}, but this config needs {tuple(own[name])}"
