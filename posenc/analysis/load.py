"""A finished run, rebuilt from its folder alone."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from posenc.checks import ConfigError
from posenc.config.build import build_module
from posenc.config.make import make
from posenc.runs import reading
from posenc.runs.result import RESULT, STUDY, is_result, other_layout
from posenc.tasks.base import Task
from posenc.tasks.parts import corpus
from posenc.training.checkpoints import check_weights
from posenc.training.module import SequenceModule

CHECKPOINTS = ("last.ckpt", "best.ckpt")
"""In this order: the scores in result.json are those of the last weights."""
LOOKED = 1000
"""Folders that are looked through for a run to name in a message."""
NEEDED_GROUPS = ("dataset", "encoding", "model", "positions", "module", "optimizer")


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
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder; give the folder of a run, such as runs/<name>.")
    config = _config(folder)
    result = _result(folder)
    name = next((name for name in CHECKPOINTS if (folder / "checkpoints" / name).is_file()), None)
    if name is None:
        raise ConfigError(
            f"{folder} has neither checkpoints/{' nor checkpoints/'.join(CHECKPOINTS)}, so its weights are lost; "
            "train it again with force=true."
        )
    path = str(folder / "checkpoints" / name)
    task: Task = make(config, "dataset", trusted=trust)
    now = corpus.data_digest(cast(dict[str, Any], OmegaConf.to_container(config.dataset))) or task.digest
    if result.get("data_digest") not in (None, now):
        raise ConfigError(
            f"{folder} was trained on other data: what dataset.path names had the digest {result['data_digest']} then "
            f"and has {now} now; put the former data back."
        )
    module = build_module(config, task, trust)
    try:
        state = check_weights(path, module, named=False)
    except ConfigError as error:
        raise ConfigError(str(error).removeprefix("ckpt_path=")) from error
    module.load_state_dict(state["state_dict"])
    return Finished(folder, result, module.eval(), name)


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
        raise ConfigError(f"{folder} did not complete ({why}); only a run that did can be analysed.")
    return result
