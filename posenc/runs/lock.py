"""One process at a time in a run folder. Needs no torch."""

import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from posenc.checks import ConfigError
from posenc.runs.files import open_file
from posenc.runs.reading import plain_text

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None

LOCK = ".lock"
WORDS = 4096
"""Characters of a lock; what its holder says of itself has some hundred."""


@contextmanager
def locked(path: Path, wait: bool) -> Iterator[None]:
    """Hold the lock file `path`; while another process does, wait for it or refuse, naming that process.

    The system's lock (flock) ends with the process, however it ends, so a file left by one that was killed holds
    nobody up. Where the file system knows no such locks, the file's own words decide: a process of this machine that
    lives no more is known to be dead; of another machine's only a person can know.
    """
    told = False
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _open(path)
        holder = _taken(file, path)
        if holder is None:
            break
        words = _words(file)
        file.close()
        if holder and not wait:
            raise ConfigError(
                f"another process is at work in {path.parent}{_named(words)}; choose another hydra.run.dir"
                + ("." if fcntl and _local(words) else f", or remove {path} if that process is gone.")
            )
        if holder and not told:
            print(f"another process is at work in {path.parent}{_named(words)}; waiting for it", flush=True)
            told = True
        if holder:
            time.sleep(1)
    try:
        file.truncate(0)
        file.write(json.dumps(_self()))
        file.flush()
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        with suppress(OSError):
            file.close()


def _open(path: Path) -> TextIO:
    try:
        handle = open_file(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    except ValueError as error:
        raise ConfigError(f"{path} cannot be a lock ({error}); remove it, or choose another hydra.run.dir.") from error
    return os.fdopen(handle, "a+", encoding="utf-8", errors="replace")


def _taken(file: TextIO, path: Path) -> bool | None:
    """None: the lock is ours. True: another process holds it. False: its holder has just left; look again."""
    try:
        if fcntl is None:
            raise OSError
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no such locks here
        return True if _lives(_words(file)) else None
    return None if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()) else False


def _self() -> dict[str, Any]:
    words = [word for word in sys.argv[1:] if not word.startswith("hydra.job.config.override_dirname")]  # launch's
    command = shlex.join([Path(sys.argv[0]).name, *words])
    since = datetime.now().isoformat(sep=" ", timespec="seconds")
    return {"process": os.getpid(), "machine": platform.node(), "since": since, "command": command[:500]}


def _words(file: TextIO) -> dict[str, Any]:
    """What the holder wrote; nothing if it has not yet, or wrote otherwise."""
    try:
        file.seek(0)
        words = plain_text(json.loads(file.read(WORDS)))
        return words if isinstance(words, dict) and {*_self()} <= {*words} else {}
    except (OSError, ValueError, RecursionError):
        return {}


def _local(words: dict[str, Any]) -> bool:
    return bool(words) and words["machine"] == platform.node()


def _lives(words: dict[str, Any]) -> bool:
    if not words or not _local(words):
        return bool(words)
    try:
        os.kill(int(words["process"]), 0)
    except PermissionError:
        return True
    except (OSError, ValueError, OverflowError):
        return False
    return True


def _named(words: dict[str, Any]) -> str:
    if not words:
        return ""
    where = "" if _local(words) else f" on {words['machine']}"
    return f" (process {words['process']}{where}, since {words['since']}: {words['command']})"
