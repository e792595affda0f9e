"""The record of a run that has ended: its cost, the reason of a failure, and its figures."""

import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from posenc.config import CONFIGS
from posenc.config.build import Parts
from posenc.runs.processes import place
from posenc.runs.result import chosen, title, write_result
from posenc.runs.writing import write_picture
from posenc.terminal import count
from posenc.training import memory
from posenc.training.divergence import lost, ran_out
from posenc.training.evaluation.run_test import achievable
from posenc.training.module import SequenceModule


def write(folder: Path, record: dict[str, Any]) -> None:
    """Write the result. If it cannot be written, print it."""
    try:
        write_result(folder, record)
    except OSError as error:
        state = record["status"] + (f": {record['error']}" if record["error"] else "")
        raise OSError(error.errno, f"{error.strerror}; the run itself: {state}", error.filename) from error


def reason(error: Exception, parts: Parts | None) -> str:
    """A sentence that says why a run failed. If memory was too small, it says which value to lower."""
    if parts is not None and ran_out(error):
        return memory.explain(error, parts.module, parts.data)
    if place() is not None and lost(error):
        why = str(error).partition("\n")[0]
        return f"another process of the run has ended ({why}); the same command continues from the last checkpoint"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'a file'} could not be written or read: {error.strerror}"
    return f"{type(error).__name__}: {error}"


def draw(folder: Path, record: dict[str, Any], module: SequenceModule | None) -> None:
    """Draw length.png if a run has scores at several lengths, and by_position.png if at several places.

    In a sweep the report draws the figures of all runs.
    """
    from posenc.figures import lengths  # matplotlib takes most of a second

    if len(record.get("test", {})) > 1:
        write_picture(folder / "length.png", lengths.length_curves(record), dpi=150)
    if module is not None and module.by_position and module.validation.places is not None:
        figure = lengths.position_curves(module.by_position, module.validation.places, title(record))
        write_picture(folder / "by_position.png", figure, dpi=150)


def opening(record: dict[str, Any], parts: Parts) -> str:
    """The text before training: task, lengths, model, device, precision, threads."""
    first, last = parts.task.length
    lengths = f"length {last}" if first == last else f"lengths {first} to {last}"
    device = parts.trainer.strategy.root_device
    where = count(torch.get_num_threads(), "thread")
    if device.type == "cuda":
        where = torch.cuda.get_device_name(device)
    model = f"{'='.join(chosen(record))}, {_parameters(parts):,} parameters"
    read = "" if parts.task.data is None else f"\n{parts.task.data}"
    return f"{record['dataset']}, {lengths} · {model} · {device.type}, {where}, {parts.trainer.precision}{read}"


def _parameters(parts: Parts) -> int:
    return sum(parameter.numel() for parameter in parts.module.encoder.parameters())


def measured(parts: Parts) -> dict[str, Any]:
    """Cost and ceilings of a run, complete or not."""
    encoder, watch = parts.module.encoder, parts.stopwatch
    return {
        "trained_lengths": list(parts.task.length),
        "trained_tokens": parts.module.trained_tokens,
        "parameters": _parameters(parts),
        "encoding_parameters": sum(p.numel() for p in encoder.encodings.parameters()),
        "steps": parts.trainer.global_step,
        "processes": parts.trainer.world_size,
        "precision": str(parts.trainer.precision),
        "seconds": round(watch.seconds, 3),
        "tokens_per_second": round(watch.tokens / watch.seconds) if watch.seconds else None,
        "validation": {"best_loss": parts.best_validation_loss},
        "skill_steps": parts.milestones.steps,
        "stopped": None if parts.criterion is None else parts.criterion.stopped,
        "censored": None if parts.criterion is None else parts.criterion.censored(parts.trainer.global_step),
        **achievable(parts.module),
    }


CODE = ("posenc", "configs", "train.py")
"""The files that a run depends on."""
_version = cache(metadata.version)


@cache
def commit(folder: Path = CONFIGS.parent) -> str | None:
    """The commit of the code, with a plus sign if files of the code differ from it, or are new.

    A new file may be an encoding, and a changed page of docs/ is no code. None if posenc is installed without git.
    """
    if not (folder / ".git").exists():  # a repository around it would be another project's
        return None
    git = ["git", "--no-optional-locks", "-C", str(folder)]
    asks = ["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "--", *CODE]
    try:
        head, changed = (
            subprocess.run([*git, *ask], capture_output=True, text=True, check=True, timeout=10).stdout.strip()
            for ask in asks
        )
        return head + "+" * bool(changed)
    except (OSError, subprocess.SubprocessError):  # there is no git, or it does not trust the folder
        return None


def versions() -> dict[str, Any]:
    """Versions that a result may depend on besides its config."""
    from_git = commit()
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in ("posenc", "torch", "lightning", "hydra-core")},
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        **({} if from_git is None else {"commit": from_git}),
    }
