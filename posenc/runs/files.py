"""The files of a run folder: names, which checkpoint a command takes, and opening. Needs no torch.

Anybody may have made the folder, so only regular files of limited size are opened, and no links.
"""

import errno
import os
import stat
from pathlib import Path

INNER = (".hydra", ".before", ".sweeps")
"""Folders that posenc makes inside a run folder or a sweep folder, besides a folder `checkpoints` with checkpoints."""
EVENTS = "events.out.tfevents."
"""The names of TensorBoard's files: EVENTS, the time of creation (ten digits), machine, process, a number."""
SELECTED = 40
"""Above this number of runs, TensorBoard's older tabs select none (`maxNamesToEnableByDefault` in its pages)."""
CEILINGS, OVERVIEW = "ceilings", "tensorboard"
"""Folders of TensorBoard's files inside a run folder (ceilings) and inside a sweep folder (overview)."""
LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
RESUMED = (LAST, PREVIOUS)
"""The order in which a stopped run looks for a checkpoint to go on from: the newest step first. best.ckpt is not among
them, because the logs have rows of later steps."""
LOADED = (LAST, BEST, PREVIOUS)
"""The order in which a finished run's weights are looked for. The scores in result.json are those of last.ckpt, and the
validation chose best.ckpt; previous.ckpt is only an earlier step."""


def link_above(path: Path) -> Path | None:
    """The folder of `INNER` that contains `path`, if that folder is a link; otherwise None.

    A user may give a link to a run folder. But the names inside the run folder are posenc's, so they must not be links.
    """
    inner = (*INNER, "checkpoints") if path.suffix == ".ckpt" else INNER
    near = [folder for folder in (path.parent, path.parent.parent) if folder.name in inner]
    return next((folder for folder in near if folder.is_symlink()), None)


def open_file(path: Path, flags: int, *, follow: bool = False) -> int:
    """Open a regular file without waiting. Returns its descriptor.

    flags   flags of os.open. Everybody can read a new file, unless the umask forbids it
    follow  whether to follow a link, which is allowed if a user gave the path

    Raises OSError, or ValueError for a link, a folder, a pipe or a device.
    """
    if not follow:
        above = link_above(path)
        if above is not None:
            raise ValueError(f"{above.name} is a link")
        flags |= getattr(os, "O_NOFOLLOW", 0)
    try:
        handle = os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0), 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise ValueError("it is a link" if error.errno == errno.ELOOP else "it is not a regular file") from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):  # checks the opened file, not the name
        os.close(handle)
        raise ValueError("it is not a regular file")
    return handle


def read_bytes(path: Path, limit: int, *, follow: bool = False) -> bytes:
    """The whole content of a file. Raises OSError, or ValueError if it is not regular or larger than `limit` bytes."""
    with os.fdopen(open_file(path, os.O_RDONLY, follow=follow), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise ValueError(f"it has {size:,} bytes; at most {limit:,} are read")
        return file.read(size)  # without bytes that are appended meanwhile


def read_end(path: Path, size: int, *, follow: bool = False) -> bytes:
    """The last `size` bytes of a file. Raises the errors of `read_bytes`."""
    with os.fdopen(open_file(path, os.O_RDONLY, follow=follow), "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - size))
        return file.read(size)


def to_resume(folder: Path) -> list[Path]:
    """The checkpoints from which the run in `folder` can go on, the newest first."""
    return _present(folder, RESUMED)


def to_load(folder: Path) -> Path | None:
    """The checkpoint with the weights of the finished run in `folder`; None if it has none."""
    return next(iter(_present(folder, LOADED)), None)


def _present(folder: Path, names: tuple[str, ...]) -> list[Path]:
    return [path for name in names if (path := folder / "checkpoints" / name).is_file()]
