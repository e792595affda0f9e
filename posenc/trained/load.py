"""Rebuilds the model of a finished run from its folder."""

import json
import os
import sys
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
from posenc.runs.files import LAST, LOADED, to_load
from posenc.runs.result import CONFIG_FILE, RESULT, STUDY, is_result, other_layout
from posenc.tasks.base import Task
from posenc.tasks.parts import corpus
from posenc.trained import exported
from posenc.training.checkpoints import check_weights
from posenc.training.module import SequenceModule

LOOKED = 1000
"""The largest number of folders that are searched for a run to suggest in a message."""
NEEDED_GROUPS = ("dataset", "encoding", "model", "positions", "module", "optimizer")


@dataclass(frozen=True)
class Record:
    """A run's folder, config, result and checkpoint file, before anything is built.

    result  empty if the user named a checkpoint, whose training may be unfinished
    """

    folder: Path
    config: DictConfig
    result: Mapping[str, Any]
    checkpoint: Path

    def check_data(self, digest: str | None) -> None:
        """Raise ConfigError if the data have changed. `digest` is that of the data which the config names now."""
        if self.result.get("data_digest") not in (None, digest):
            raise ConfigError(
                f"{self.folder} was trained on other data: the data at dataset.path had the digest "
                f"{self.result['data_digest']} and now have {digest}; put the former data back."
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
    """A finished run: its folder, its result, and the module with the weights of `checkpoint`."""

    folder: Path
    result: Mapping[str, Any]
    module: SequenceModule
    checkpoint: str

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return int(self.result["seed"])


def load(folder: Path, trust: bool = False) -> Finished:
    """The run in `folder`, in evaluation mode on the CPU. Raises ConfigError if there is no complete run.

    trust  whether the run is the user's own, and may build any class, which may run any code (posenc.config.allowed)
    """
    found = record_of_run(folder)
    task: Task = make(found.config, "dataset", trusted=trust)
    options = cast(dict[str, Any], OmegaConf.to_container(found.config.dataset))
    found.check_data(corpus.data_digest(options) or task.digest)
    return Finished(folder, found.result, found.module(task, trust), found.checkpoint.name)


def load_encoder(run: str | Path, *, trust: bool = False) -> Encoder:
    """`posenc.load`: the encoder of a trained run with its weights, in evaluation mode on the CPU.

    run    a run folder (its last weights, whose scores are in result.json), a checkpoint in one, or the folder of an
           export (posenc.trained.exported)
    trust  as in `load`

    `encoder(tokens)` uses the run's position scheme, unless positions are given; `encoder.config` is the run's config
    as plain values (of an export, `exported.GROUPS`). The data may have changed, if their vocabulary is the same.
    Raises ConfigError if there is no complete run.
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
    """Add positions to the arguments of the encoder, unless they are given."""
    tokens = args[0] if args else given["tokens"]
    if len(args) > 1 or given.get("positions") is not None:
        return args, given
    return args, given | {"positions": scheme(tokens, training=encoder.training, extra=encoder.extra_positions)}


def record_of_run(folder: Path) -> Record:
    """The record of the finished run in `folder`. Raises ConfigError if there is none or it has no checkpoint.

    If the last weights are missing, it prints whose weights are taken instead.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder; give the folder of a run, such as runs/<name>.")
    config = _config(folder)
    result = _result(folder)
    if result.get("evaluated") is not None:
        raise ConfigError(f"{folder} is an evaluation, which has no weights; give the run that it evaluated.")
    checkpoint = to_load(folder)
    if checkpoint is None:
        raise ConfigError(
            f"{folder} has neither checkpoints/{' nor checkpoints/'.join(LOADED)}, so its weights are lost; "
            "train it again with force=true."
        )
    if checkpoint.name != LAST:
        print(
            f"{folder} lacks checkpoints/{LAST}, whose scores are in {RESULT}; the weights of "
            f"checkpoints/{checkpoint.name}, which may be of an earlier step, are used instead.",
            file=sys.stderr,
        )
    return Record(folder, config, result, checkpoint)


def record_of_checkpoint(path: Path) -> Record:
    """The record of the run that wrote a checkpoint. Raises ConfigError if the checkpoint is in no run folder."""
    folder = run_folder(str(path))
    if folder is None:
        raise ConfigError(
            f"{path} is in no run folder, so its model is unknown; copy it with its run folder, because the "
            "model is in .hydra/config.yaml and the weights are in checkpoints/."
        )
    return Record(folder, _config(folder), {}, path.absolute())


def _config(folder: Path) -> DictConfig:
    path = folder / CONFIG_FILE
    if (folder / STUDY).is_file():
        raise ConfigError(f"{folder} contains a study, which keeps no models; its numbers are in study.csv.")
    if not path.exists() and not path.is_symlink():
        if (folder / RESULT).is_file():
            raise ConfigError(f"{folder} lacks .hydra/config.yaml, so the model cannot be rebuilt; put the file back.")
        below = next((Path(here) for here, _, files in islice(os.walk(folder), LOOKED) if RESULT in files), None)
        hint = f"a run, such as {'runs/<name>' if below is None else below}"
        raise ConfigError(f"{folder} is no run of posenc: it has no .hydra/config.yaml; give the folder of {hint}.")
    try:
        config = reading.read_config(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error}), so the model cannot be rebuilt.") from error
    if not _ours(config):
        raise ConfigError(f"{folder} is a run of another project: its .hydra/config.yaml names no model of posenc.")
    lacking = [group for group in NEEDED_GROUPS if group not in config]
    if lacking:
        raise ConfigError(f"{path} lacks {', '.join(lacking)}, so the model cannot be rebuilt.")
    return config


def _ours(config: DictConfig) -> bool:
    model = config.get("model")
    return isinstance(model, DictConfig) and str(model.get("_target_", "")).startswith("posenc.")


def _result(folder: Path) -> dict[str, Any]:
    try:
        result = reading.plain_text(reading.read_json(folder / RESULT))
    except FileNotFoundError as error:
        raise ConfigError(
            f"{folder} has no {RESULT}: the run was killed or is still running. Type its command again to "
            "continue a killed run."
        ) from error
    except json.JSONDecodeError as error:
        raise ConfigError(f"{folder / RESULT} is not JSON; copy it again, or repeat the run's command.") from error
    except ValueError as error:
        raise ConfigError(f"{folder / RESULT} cannot be read ({error}).") from error
    why = other_layout(result) if isinstance(result, dict) else None
    if why is not None:
        raise ConfigError(f"{folder / RESULT} cannot be read: {why}.")
    lacking = [
        key for key in ("encoding", "dataset", "seed", "status") if not isinstance(result, dict) or key not in result
    ]
    if lacking:
        raise ConfigError(f"{folder / RESULT} lacks {', '.join(lacking)}; it is no result of posenc.")
    if not is_result(result):
        raise ConfigError(f"{folder / RESULT} contains values that no result of posenc has.")
    if result["status"] != "completed":
        why = f"status {result['status']}" + (f": {result['error']}" if result.get("error") else "")
        raise ConfigError(f"{folder} did not complete ({why}); only completed runs can be loaded.")
    return result
