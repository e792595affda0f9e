"""The names of a run's checkpoints, and which of them a command takes. Needs no torch."""

from pathlib import Path

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
RESUMED = (LAST, PREVIOUS)
"""The order in which a stopped run looks for a checkpoint to go on from: the newest step first. best.ckpt is not among
them, because the logs have rows of later steps."""
LOADED = (LAST, BEST, PREVIOUS)
"""The order in which a finished run's weights are looked for. The scores in result.json are those of last.ckpt, and the
validation chose best.ckpt; previous.ckpt is only an earlier step."""


def to_resume(folder: Path) -> list[Path]:
    """The checkpoints from which the run in `folder` can go on, the newest first."""
    return _present(folder, RESUMED)


def to_load(folder: Path) -> Path | None:
    """The checkpoint with the weights of the finished run in `folder`; None if it has none."""
    return next(iter(_present(folder, LOADED)), None)


def _present(folder: Path, names: tuple[str, ...]) -> list[Path]:
    return [path for name in names if (path := folder / "checkpoints" / name).is_file()]
