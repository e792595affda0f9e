"""Commands in processes of their own that need not import torch: Python's fork server has imported it for all of them.

Such a process has its own id, signals, exit status and output. It differs from a new interpreter in two ways: modules
are there before they are asked for, and nothing that is registered with atexit is called. Tests of what a start imports
use `subprocess`.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path

ROOT = Path(__file__).parent.parent
TRAIN = str(ROOT / "train.py")


def _become(words: list[str], folder: Path, around: dict[str, str], out: Path, errors: Path) -> None:
    """In the new process: be `python WORDS`, started in that folder with that environment."""
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]  it may start others
    os.setsid()
    os.environ.clear()
    os.environ.update(around)
    os.chdir(folder)
    for number, path in ((1, out), (2, errors)):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, number)
        os.close(handle)
    sys.path[:0] = [path for path in around.get("PYTHONPATH", "").split(os.pathsep) if path]
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")


class Started:
    """`python WORDS` in the background; what it prints goes to files. It ends with the process that started it."""

    def __init__(
        self, words: list[str], out: Path, errors: Path | None = None, folder: Path = ROOT,
        around: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        multiprocessing.set_forkserver_preload(["tests.preloaded"])
        whole = {**os.environ, "OMP_NUM_THREADS": "1", **(around or {})}
        # progress is shown in processes of this name alone
        self._process = ForkServerProcess(
            target=_become, args=(words, folder, whole, out, errors or out), name="MainProcess", daemon=True
        )
        self._process.start()

    @property
    def pid(self) -> int:
        """Its number."""
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """Its exit status, or minus the signal that ended it; None while it runs."""
        return self._process.exitcode

    def wait(self, limit: float = 300) -> int:
        """The same, once it has ended."""
        self._process.join(limit)
        status = self.poll()
        if status is None:
            self._process.kill()
            raise TimeoutError(f"still at work after {limit:g} s")
        return status

    def send_signal(self, signum: int) -> None:
        """Signal it."""
        os.kill(self.pid, signum)


def python(*words: str, folder: Path = ROOT, **around: str) -> subprocess.CompletedProcess[str]:
    """`python WORDS` to its end."""
    with tempfile.TemporaryDirectory() as place:
        out, errors = Path(place) / "out", Path(place) / "errors"
        status = Started([*words], out, errors, folder, around).wait()
        return subprocess.CompletedProcess(words, status, out.read_text(), errors.read_text())
