"""Locks a run folder for one process, with the filelock library, and records which process it is. Needs no torch."""

import os
import platform
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from posenc.checks import ConfigError
from posenc.runs.files import read_bytes
from posenc.runs.reading import plain_text
from posenc.runs.writing import write_text

LOCK, HOLDER = ".lock", ".holder"
"""The lock file, and the file in which the process that has the lock describes itself."""
MAX_HOLDER_BYTES = 4096
"""Upper limit, in bytes, of what is read of `HOLDER`; a process writes a few hundred bytes."""


@contextmanager
def locked(path: Path, wait: bool) -> Iterator[None]:
    """Lock the file `path`. If another process has locked it, wait, or raise ConfigError that names that process.

    The system's lock ends with its process, so a stale lock file blocks no one. On a file system without such locks,
    filelock writes process and machine into the file. A dead process of this machine is recognised. For the lock of
    another machine a person must decide.
    """
    lock = _acquired(path, wait)
    try:
        write_text(path.with_name(HOLDER), _self())
        yield
    finally:
        for each in (path.with_name(HOLDER), path):  # the lock file last, while it is still locked
            with suppress(OSError):
                each.unlink(missing_ok=True)
        with suppress(OSError):
            lock.release()


def _acquired(path: Path, wait: bool) -> FileLock:
    lock, told = FileLock(path), False
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=1 if told else 0, poll_interval=0.25)
            return lock
        except Timeout:
            words = f"another process is at work in {path.parent}{_holder(path)}"
            if not wait:
                here = f" on {platform.node()}, " in words
                gone = "" if here else f" If that process is gone, remove {path}."
                raise ConfigError(
                    f"{words}; type the same command again when that process has ended, or give train.py another "
                    f"folder with hydra.run.dir=FOLDER.{gone}"
                ) from None
            if not told:
                print(f"{words}; waiting for it", flush=True)
                told = True
        except FileNotFoundError:  # the other process has just removed its empty folder
            continue


def _self() -> str:
    added = "hydra.job.config.override_dirname"  # by posenc.jobs.launch
    words = [word for word in sys.argv[1:] if not word.startswith(added)]
    command = shlex.join([Path(sys.argv[0]).name, *words])
    since = datetime.now().isoformat(sep=" ", timespec="seconds")
    return f"process {os.getpid()} on {platform.node()}, since {since}: {command[:500]}\n"


def _holder(path: Path) -> str:
    """The description of the process that has the lock, in brackets; empty if there is none yet."""
    with suppress(OSError, ValueError):
        return f" ({plain_text(read_bytes(path.with_name(HOLDER), MAX_HOLDER_BYTES).decode(errors='replace'))})"
    return ""
