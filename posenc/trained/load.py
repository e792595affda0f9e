"""A finished run, rebuilt from its folder alone."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from posenc.checks import ConfigError
from posenc.config.build import build_module
from posenc.config.make import make
from posenc.config.resume import run_folder
from posenc.model.encoder import Encoder
from posenc.positions.schemes import PositionScheme
from posenc.runs import reading
from posenc.runs.result import RESULT, STUDY, is_result, other_layout
from posenc.tasks.base import Task
from posenc.tasks.parts import corpus
from posenc.trained import exported
from posenc.training.checkpoints import check_weights
from posenc.training.module import SequenceModule

CHECKPOINTS = ("last.ckpt", "best.ckpt")
"""In this order: the scores in result.json are those of the last weights."""
LOOKED = 1000
"""Folders that are looked through for a run to name in a message."""
NEEDED_GROUPS = ("dataset", "encoding", "model", "positions", "module", "optimizer")


@dataclass(frozen=True)
class Record:
    """What a run says of itself, before anything is built: its folder, config, result, and where its weights are.

    result  empty where a checkpoint was named, of which training may not have come to its end
    """

    folder: Path
    config: DictConfig
    result: Mapping[str, Any]
    checkpoint: Path

    def check_data(self, digest: str | None) -> None:
        """Raise ConfigError if data with this digest, to which its config leads now, are not those of the run."""
        if self.result.get("data_digest") not in (None, digest):
            raise ConfigError(
                f"{self.folder} was trained on other data: what dataset.path names had the digest "
                f"{self.result['data_digest']} then and has {digest} now; put the former data back."
            )

    def module(self, task: Task, trust: bool = False) -> SequenceModule:
        """The module with the weights of the run, in evaluation mode on the CPU."""
        module = build_module(self.config, task, trust)
        try:
            state = check_weights(str(self.checkpoint), module, named=False)
        except ConfigError as error:
            raise ConfigError(str(error).removeprefix("ckpt_path=")) from error
        module.load_state_dict(state["state_dict"])
        return module.eval()


@dataclass(frozen=True)
class Finished:
    """A run that came to its end: its folder, record, weights."""

    folder: Path
    result: Mapping[str, Any]
    module: SequenceModule
    checkpoint: str

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return int(self.result["seed"])


def load(folder: Path, trust: bool = False) -> Finished:
    """The run in `folder` in evaluation mode on the CPU. Raises ConfigError where there is none, or not all of it.

    trust  the run is the user's own: build whatever its config names, which may run any code (posenc.config.allowed)
    """
    found = record_of_run(folder)
    task: Task = make(found.config, "dataset", trusted=trust)
    options = cast(dict[str, Any], OmegaConf.to_container(found.config.dataset))
    found.check_data(corpus.data_digest(options) or task.digest)
    return Finished(folder, found.result, found.module(task, trust), found.checkpoint.name)


def load_encoder(run: str | Path, *, trust: bool = False) -> Encoder:
    """`posenc.load`: the encoder of a trained run with its weights, in evaluation mode on the CPU.

    run    a run folder, or one of its checkpoints; of a folder the last weights, whose scores are in result.json. Or
           the folder of an export (posenc.trained.exported), which has the groups of a config that make the encoder
    trust  as in `load`

    `encoder(tokens)` places tokens as the run's position scheme does, unless positions are given; `encoder.config` is
    the run's config as plain values. Nothing of the data but their vocabulary matters here, and they may have changed.
    Raises ConfigError where there is no such run, or not all of it.
    """
    path = Path(run)
    if exported.is_exported(path):
        encoder, positions, config = exported.read(path, trust)
        return _placing(encoder, positions, config)
    found = record_of_checkpoint(path) if path.is_file() else record_of_run(path)
    module = found.module(make(found.config, "dataset", trusted=trust), trust)
    return _placing(module.encoder, module.positions, OmegaConf.to_container(found.config))


def _placing(encoder: Encoder, positions: PositionScheme, config: Any) -> Encoder:
    encoder.register_forward_pre_hook(partial(_placed, positions), with_kwargs=True)
    vars(encoder)["config"] = config
    return encoder


def _placed(
    scheme: PositionScheme, encoder: Encoder, args: tuple[Any, ...], given: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call of the encoder, with positions where there are none."""
    tokens = args[0] if args else given["tokens"]
    if len(args) > 1 or given.get("positions") is not None:
        return args, given
    return args, given | {"positions": scheme(tokens, training=encoder.training, extra=encoder.extra_positions)}


def record_of_run(folder: Path) -> Record:
    """The record of the run in `folder`, which has come to its end and has a checkpoint. Raises ConfigError."""
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder; give the folder of a run, such as runs/<name>.")
    config = _config(folder)
    result = _result(folder)
    if result.get("evaluated") is not None:
        raise ConfigError(f"{folder} is an evaluation, which has no weights of its own; give the run that it is of.")
    name = next((name for name in CHECKPOINTS if (folder / "checkpoints" / name).is_file()), None)
    if name is None:
        raise ConfigError(
            f"{folder} has neither checkpoints/{' nor checkpoints/'.join(CHECKPOINTS)}, so its weights are lost; "
            "train it again with force=true."
        )
    return Record(folder, config, result, folder / "checkpoints" / name)


def record_of_checkpoint(path: Path) -> Record:
    """The record of the run that wrote a checkpoint. Raises ConfigError where it lies in no run folder."""
    folder = run_folder(str(path))
    if folder is None:
        raise ConfigError(
            f"{path} lies in no run folder, so that nothing says which model it belongs to; copy it with its folder: "
            "the model is in .hydra/config.yaml, the weights are in checkpoints/."
        )
    return Record(folder, _config(folder), {}, path.absolute())


def _config(folder: Path) -> DictConfig:
    path = folder / ".hydra" / "config.yaml"
    if (folder / STUDY).is_file():
        raise ConfigError(f"{folder} holds a study, which keeps no models; its numbers are in study.csv.")
    if not path.exists() and not path.is_symlink():
        if (folder / RESULT).is_file():
            raise ConfigError(
                f"{folder} is no run of posenc, for it has no .hydra/config.yaml, without which no model is built; "
                "put it back."
            )
        below = next((Path(here) for here, _, files in islice(os.walk(folder), LOOKED) if RESULT in files), None)
        hint = (
            "give the folder of a run, such as runs/<name>" if below is None else f"give one below it, such as {below}"
        )
        raise ConfigError(f"{folder} is no run of posenc, for it has no .hydra/config.yaml; {hint}.")
    try:
        config = reading.read_config(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error}), so the model cannot be rebuilt.") from error
    if not _ours(config):
        raise ConfigError(f"{folder} is a run of another project: its .hydra/config.yaml builds no model of posenc.")
    lacking = [group for group in NEEDED_GROUPS if group not in config]
    if lacking:
        raise ConfigError(f"{path} lacks {', '.join(lacking)}, so the model cannot be rebuilt.")
    return config


def _ours(config: DictConfig) -> bool:
    model = config.get("model")
    return isinstance(model, DictConfig) and str(model.get("_target_", "")).startswith("posenc.")


def _result(folder: Path) -> dict[str, Any]:
    again = "the command that started it goes on with it"
    try:
        result = reading.plain_text(reading.read_json(folder / RESULT))
    except FileNotFoundError as error:
        why = f"there is no {RESULT}: it was killed, or is still running"
        raise ConfigError(f"{folder} did not complete ({why}); {again}.") from error
    except json.JSONDecodeError as error:
        raise ConfigError(f"{folder / RESULT} is not JSON, probably cut off while it was copied.") from error
    except ValueError as error:
        raise ConfigError(f"{folder / RESULT} cannot be read ({error}).") from error
    why = other_layout(result) if isinstance(result, dict) else None
    if why is not None:
        raise ConfigError(f"{folder / RESULT} is not read: {why}.")
    lacking = [
        key for key in ("encoding", "dataset", "seed", "status") if not isinstance(result, dict) or key not in result
    ]
    if lacking:
        raise ConfigError(f"{folder / RESULT} does not say {', '.join(lacking)}; it is no result of posenc.")
    if not is_result(result):
        raise ConfigError(f"{folder / RESULT} holds values that no result of posenc has.")
    if result["status"] != "completed":
        why = f"status {result['status']}" + (f": {result['error']}" if result.get("error") else "")
        raise ConfigError(f"{folder} did not complete ({why}); only a run that did is loaded.")
    return result
