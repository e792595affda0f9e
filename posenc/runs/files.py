"""How posenc opens a file of a folder that anybody may have made: a regular one, of so many bytes, through no link."""

import errno
import os
import stat
from pathlib import Path

INNER = (".hydra", ".before", ".sweeps")
"""Folders that posenc makes inside of the one that it is given; `checkpoints`, where checkpoints lie in it, is one."""
EVENTS = "events.out.tfevents."
"""TensorBoard's files: EVENTS, the second in which a file was begun in ten digits, machine, process, a number."""
CEILINGS, OVERVIEW = "ceilings", "tensorboard"
"""Folders of TensorBoard's files, made inside of the folder of a run and of a sweep."""


def link_above(path: Path) -> Path | None:
    """The folder of posenc's own that `path` lies in, if it is a link; a link that leads to a run folder is none.

    A user may name his run folder by a link. What lies in it is no name of his.
    """
    inner = (*INNER, "checkpoints") if path.suffix == ".ckpt" else INNER
    near = [folder for folder in (path.parent, path.parent.parent) if folder.name in inner]
    return next((folder for folder in near if folder.is_symlink()), None)


def open_file(path: Path, flags: int, *, follow: bool = False) -> int:
    """A descriptor of a regular file, which never waits.

    flags   of os.open; a file that is made can be read by all, as far as the system's mask allows
    follow  a link, because a user named it

    Raises OSError; ValueError for a link, a folder, a pipe or a device.
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
            raise ValueError("it is a link" if error.errno == errno.ELOOP else "it is no file") from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):  # of what was opened, whatever the name stands for by now
        os.close(handle)
        raise ValueError("it is no file")
    return handle


def read_bytes(path: Path, limit: int, *, follow: bool = False) -> bytes:
    """All of a file of at most `limit` bytes. Raises OSError, or ValueError for what is none."""
    with os.fdopen(open_file(path, os.O_RDONLY, follow=follow), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise ValueError(f"it has {size:,} bytes; at most {limit:,} are read")
        return file.read(size)  # and nothing that is written meanwhile


def read_end(path: Path, size: int, *, follow: bool = False) -> bytes:
    """The last `size` bytes of a file. Raises as `read_bytes`."""
    with os.fdopen(open_file(path, os.O_RDONLY, follow=follow), "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - size))
        return file.read(size)
