"""What a run finds in its folder: nothing, its own result, its own beginnings, or another run. Needs no torch."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf

from posenc import records, runs
from posenc.checks import ConfigError
from posenc.locks import LOCK, locked

FINISHED = ("completed", "diverged")
"""Statuses that the same config would reach again; a failed or interrupted run is worth another try."""
RESUMED = ("last.ckpt", "previous.ckpt")
BEFORE, REPLACED = ".before", "replaced.json"


@dataclass
class Claim:
    """A run folder that this process holds.

    finished  the result, where this config has come to its end here before
    resume    the checkpoints of a run of this config that was stopped before its end, the newest first
    """

    folder: Path
    finished: dict[str, Any] | None = None
    resume: list[Path] = field(default_factory=list)

    @property
    def untouched(self) -> bool:
        """Nothing was written here yet."""
        return not [path for path in self.folder.iterdir() if path.name != LOCK]

    @property
    def before(self) -> Path | None:
        """Where the result is that `force` was to replace, until the new one is complete."""
        return self.folder / BEFORE if (self.folder / BEFORE / REPLACED).exists() else None

    def complete(self, status: str) -> None:
        """A result is written: the one before it, if it was kept, is no longer needed."""
        if status in FINISHED:
            shutil.rmtree(self.folder / BEFORE, ignore_errors=True)


@contextmanager
def claim(folder: Path, digest: str, *, force: bool, wait: bool) -> Iterator[Claim]:
    """Hold `folder` for a run whose config_hash is `digest`.

    force  set aside what is there, whatever it is
    wait   for a process that is at work there, else refuse
    """
    with hold(folder, wait=wait):
        yield _look(folder, digest, force)


@contextmanager
def hold(folder: Path, *, wait: bool) -> Iterator[None]:
    """Hold `folder`, made if it is not there, as the only process; one that stays empty is removed again."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LOCK).touch()
    except OSError as error:
        raise ConfigError(f"the run folder {folder} cannot be written ({error.strerror}).") from error
    try:
        with locked(folder / LOCK, wait):
            yield
    finally:
        with suppress(OSError):
            folder.rmdir()


def _look(folder: Path, digest: str, force: bool) -> Claim:
    result = _read(folder / runs.RESULT)
    if not any((folder / name).exists() for name in (runs.RESULT, "metrics.csv", "checkpoints")):
        _discard(folder)
        return Claim(folder)
    if force:
        _set_aside(folder, result)
        return Claim(folder)
    if digest != (_hash_of(folder) if result is None else result.get("config_hash")):
        raise ConfigError(
            f"{folder} already holds a run of another config, which would be overwritten; choose another "
            "hydra.run.dir (or hydra.sweep.dir), delete it, or replace it with force=true."
        )
    if result is not None and result["status"] in FINISHED:
        return Claim(folder, finished=result)
    (folder / runs.RESULT).unlink(missing_ok=True)  # a folder with a result is one that has come to its end
    found = [path for name in RESUMED if (path := folder / "checkpoints" / name).is_file()]
    if found:
        return Claim(folder, resume=found)
    _discard(folder)
    return Claim(folder)


def _read(path: Path) -> dict[str, Any] | None:
    """A result; a file that is none is taken for an unfinished run's."""
    try:
        found = records.read_json(path)
    except (OSError, ValueError):
        return None
    return found if runs.is_result(found) else None


def _hash_of(folder: Path) -> str | None:
    """config_hash of the run that began here, from its record."""
    try:
        plain = OmegaConf.to_container(records.read_config(folder / ".hydra" / "config.yaml"))
        return runs.config_hash(cast(dict[str, Any], plain))
    except Exception:  # no record, half of one, or one of an older posenc: it cannot be gone on with
        return None


def _own(folder: Path) -> list[Path]:
    """What a run writes; other runs may lie in folders below."""
    names = (runs.RESULT, "checkpoints", "metrics.csv", "traceback.txt", "hparams.yaml", ".hydra")
    names += ("by_position.csv", "by_position.png", "length.png")
    found = [folder / name for name in names if (folder / name).exists()]
    return [*found, *folder.glob("events.out.tfevents.*"), *folder.glob("rank*.log")]


def _discard(folder: Path) -> None:
    for path in _own(folder):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _set_aside(folder: Path, result: dict[str, Any] | None) -> None:
    """Keep a finished run under .before/; an unfinished one that was to replace such a run is given up instead."""
    before = folder / BEFORE
    finished = result is not None and result["status"] in FINISHED
    if before.exists() and not finished:
        _discard(folder)
        return
    shutil.rmtree(before, ignore_errors=True)
    before.mkdir()
    for path in _own(folder):
        path.rename(before / (REPLACED if path.name == runs.RESULT else path.name))  # no reader may count it
