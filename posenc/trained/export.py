"""`python -m posenc export RUN` exports the encoder of a finished run."""

from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf

from posenc.config.build import trained_tokens
from posenc.config.make import make
from posenc.tasks.base import Task
from posenc.trained import exported
from posenc.trained.load import record_of_run

FOLDER = "export"


def write(run: Path, folder: Path | None = None, trust: bool = False) -> Path:
    """Export the last weights of a finished run into `folder`, by default RUN/export. Returns the folder.

    Raises ConfigError, before anything is written, if there is no such run or the folder contains anything else.
    """
    found = record_of_run(run)
    task: Task = make(found.config, "dataset", trusted=trust)
    module, target = found.module(task, trust), folder or run / FOLDER
    plain = cast(dict[str, Any], OmegaConf.to_container(found.config))
    facts = {
        "posenc": dict(found.result.get("versions") or {}).get("posenc"),
        "run": found.result.get("config_hash"),
        **{group: found.result.get(group) for group in ("encoding", "positions", "dataset")},
        "vocab_size": task.vocab_size,
        "num_outputs": task.num_outputs,
        "trained_tokens": trained_tokens(str(found.checkpoint)) or module.trained_tokens,
        "config": {key: plain[key] for key in exported.GROUPS},
    }
    exported.write(target, module.encoder, facts)
    return target


def show(run: Path, output: Path | None = None, trust: bool = False) -> None:
    """Export a run, and print how to load the export."""
    folder = write(run, output, trust)
    for name in (exported.WEIGHTS, exported.CONFIG):
        print(folder / name)
    print(f"read them: posenc.load({str(folder)!r})")
