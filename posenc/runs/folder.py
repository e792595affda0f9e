"""Opens a run folder, which may be empty, or contain the result of this run, its unfinished run, or another run.

Needs no torch.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf

from posenc.checks import ConfigError
from posenc.runs import identity, reading
from posenc.runs.files import CEILINGS, EVENTS, INNER, OVERVIEW, to_resume
from posenc.runs.lock import HOLDER, LOCK, locked
from posenc.runs.result import CONFIG_FILE, RESULT, is_result, other_layout
from posenc.runs.writing import clear_parts, write_text

FINISHED = ("completed", "diverged")
"""Final statuses: the same config would end with the same status again. Failed and interrupted runs are tried again."""
BEFORE, REPLACED = ".before", "replaced.json"
BEGUN = "identity.json"
"""The file with the run's identity. It is written beside the config's record when the run begins."""
IDENTITY_KEYS = ("schema", "config_hash", "data_digest", "start_digest")


@dataclass
class RunFolder:
    """A run folder that this process has locked.

    finished  the result, if a run of this config has finished here
    resume    the checkpoints of a stopped run of this config, the newest first
    """

    folder: Path
    finished: dict[str, Any] | None = None
    resume: list[Path] = field(default_factory=list)

    @property
    def untouched(self) -> bool:
        """Whether nothing was written here yet."""
        return not [path for path in self.folder.iterdir() if path.name not in (LOCK, HOLDER)]

    @property
    def before(self) -> Path | None:
        """The folder of the old result that `force` replaces. It exists until the new result is complete."""
        return self.folder / BEFORE if (self.folder / BEFORE / REPLACED).exists() else None

    def complete(self, status: str) -> None:
        """Remove the old result, if there is one, because the new result has been written."""
        if status in FINISHED:
            shutil.rmtree(self.folder / BEFORE, ignore_errors=True)


@contextmanager
def open_run(
    folder: Path,
    digest: str,
    *,
    force: bool,
    wait: bool,
    data: str | None = None,
    start: str | None = None,
    former: Sequence[str] = (),
    root: Path | None = None,
) -> Iterator[RunFolder]:
    """Lock `folder` for a run.

    digest  the config_hash of the run
    force   set aside everything that is in the folder
    wait    wait for another process that has locked the folder; otherwise raise ConfigError
    data    the digest of the run's data
    start   the digest of the weights that the run starts from
    former  identity.former_hashes of the same config
    root    the folder of the run's sweep; no folder between `root` and `folder` may be a link
    """
    for between in (folder, *folder.parents) if root in folder.parents else ():
        if between == root:
            break
        if between.is_symlink():
            raise ConfigError(f"{between} is a link to another folder; remove it, or choose another hydra.sweep.dir.")
    with lock_folder(folder, wait=wait):
        yield _look(folder, digest, force, data, start, former)


def begin(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the identity of the run before any other file, so that no other run uses these files as its own."""
    said = {key: record.get(key) for key in IDENTITY_KEYS}
    write_text(folder / ".hydra" / BEGUN, json.dumps(said, indent=2) + "\n")


@contextmanager
def lock_folder(folder: Path, *, wait: bool) -> Iterator[None]:
    """Lock `folder` for this process. It is made if it does not exist, and removed again if it stays empty."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        refuse_links(folder)
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(folder / LOCK, wait))
            except OSError as error:
                raise _unwritable(folder, error) from error
            for each in (folder, folder / ".hydra", folder / "checkpoints"):
                clear_parts(each)
            yield
    finally:
        with suppress(OSError):
            folder.rmdir()


def _unwritable(folder: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"the run folder {folder} cannot be written ({error.strerror}); give another with hydra.run.dir=FOLDER, in a "
        "sweep hydra.sweep.dir=FOLDER."
    )


def refuse_links(folder: Path) -> None:
    """Raise ConfigError if a folder to which a command writes contains a link, which might lead to another place."""
    inner = [folder / name for name in (*INNER, "checkpoints", CEILINGS, OVERVIEW)]
    for here in (folder, *(each for each in inner if each.is_dir() and not each.is_symlink())):
        with os.scandir(here) as found:
            links = sorted(entry.name for entry in found if entry.is_symlink())
        if links:
            raise ConfigError(
                f"{here / links[0]} is a link, so files would be written to another place; remove it, or choose "
                "another folder (hydra.run.dir, in a sweep hydra.sweep.dir)."
            )


def _look(
    folder: Path, digest: str, force: bool, data: str | None, start: str | None, former: Sequence[str]
) -> RunFolder:
    result = read_result(folder, any_layout=force)
    if not any((folder / name).exists() for name in (RESULT, "metrics.csv", "checkpoints")):
        _discard(folder)
        return RunFolder(folder)
    if force:
        _set_aside(folder, result)
        return RunFolder(folder)

    def said(key: str) -> str | None:
        return (result or {}).get(key) or begun(folder).get(key)

    finished = result is not None and result["status"] in FINISHED
    today, shared_before = _recorded(folder, said("config_hash"))
    if shared_before:
        raise ConfigError(
            f"{folder} contains a run of an earlier posenc, in which all layers shared the encoding's weights by "
            "default; now each has its own. Choose another folder, or replace the run with force=true."
        )
    theirs = today or (result or {}).get("config_hash")
    if theirs != digest and (finished or theirs not in former or today is not None):
        raise ConfigError(
            f"{folder} already contains a run of another config, which would be overwritten; choose another "
            "hydra.run.dir (or hydra.sweep.dir), delete the folder, or replace the run with force=true."
        )
    found = to_resume(folder)
    if finished or found:
        same_data(folder, said("data_digest"), data)
        _same_start(folder, said("start_digest"), start)
    if finished:
        return RunFolder(folder, finished=result)
    (folder / RESULT).unlink(missing_ok=True)  # a folder with a result counts as finished
    if found:
        return RunFolder(folder, resume=found)
    _discard(folder)
    return RunFolder(folder)


def same_data(folder: Path, was: str | None, now: str | None) -> None:
    """Raise ConfigError if the data of the run in `folder` have changed. None: unknown."""
    if was is not None and now is not None and was != now:
        raise ConfigError(
            f"{folder} contains a run on other data: the data at dataset.path had the digest {was} and now have {now}; "
            "put the former data back, choose another hydra.run.dir (or hydra.sweep.dir), or replace the run with "
            "force=true."
        )


def _same_start(folder: Path, was: str | None, now: str | None) -> None:
    """Raise ConfigError if the checkpoint that the run in `folder` started from has changed. None: unknown."""
    if was is not None and now is not None and was != now:
        raise ConfigError(
            f"{folder} contains a run that began with other weights: the file at start_from had the digest {was} and "
            f"now has {now}; put the former checkpoint back, choose another hydra.run.dir (or hydra.sweep.dir), or "
            "replace the run with force=true."
        )


def read_result(folder: Path, any_layout: bool = True) -> dict[str, Any] | None:
    """The result of the run in this folder; None if its file is no result, so that the run counts as unfinished.

    Raises ConfigError for a result of another layout, unless `any_layout`.
    """
    try:
        found = reading.plain_text(reading.read_json(folder / RESULT))
    except (OSError, ValueError):
        return None
    if not any_layout:
        same_layout(folder / RESULT, found)
    return found if is_result(found) else None


def same_layout(path: Path, record: Any) -> None:
    """Raise ConfigError if a record was written by another version of posenc."""
    why = other_layout(record) if isinstance(record, dict) else None
    if why is not None:
        raise ConfigError(
            f"{path} is kept: {why}, choose another hydra.run.dir (or hydra.sweep.dir), or replace the run with "
            "force=true."
        )


def begun(folder: Path) -> dict[str, Any]:
    """The identity that the run in this folder wrote. Raises ConfigError if it has another layout."""
    path = folder / ".hydra" / BEGUN
    try:
        found = reading.read_json(path)
    except (OSError, ValueError):
        return {}
    same_layout(path, found)
    return found if isinstance(found, dict) else {}


def _recorded(folder: Path, digest: str | None) -> tuple[str | None, bool]:
    """(today's config_hash of the recorded config, `identity.shared_before` for it and the recorded digest)."""
    try:
        plain = cast(dict[str, Any], OmegaConf.to_container(reading.read_config(folder / CONFIG_FILE)))
        return identity.config_hash(plain), identity.shared_before(plain, digest)
    except Exception:  # the record is incomplete or of an older version, so the run cannot be continued
        return None, False


def _own(folder: Path) -> list[Path]:
    """The files that a run writes. Folders below may contain other runs."""
    names = (RESULT, "checkpoints", "metrics.csv", "traceback.txt", "hparams.yaml", ".hydra")
    names += ("metrics_damaged.csv", CEILINGS)
    names += ("by_position.csv", "by_position.png", "length.png")
    found = [folder / name for name in names if (folder / name).exists()]
    return [*found, *folder.glob(f"{EVENTS}*")]


def _discard(folder: Path) -> None:
    for path in _own(folder):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _set_aside(folder: Path, result: dict[str, Any] | None) -> None:
    """Move a finished run to .before/. If .before/ has a finished run already, discard the unfinished one instead."""
    before = folder / BEFORE
    finished = result is not None and result["status"] in FINISHED
    if before.exists() and not finished:
        _discard(folder)
        return
    shutil.rmtree(before, ignore_errors=True)
    before.mkdir()
    for path in _own(folder):
        path.rename(before / (REPLACED if path.name == RESULT else path.name))  # readers do not count REPLACED
