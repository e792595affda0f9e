"""Commands as a user starts them: `python WORDS` in processes of their own, in the background or to their end.

A new interpreter imports torch and Lightning, which takes long. Where that is not what a test is
about, the process is forked from one that has imported them; it is the same code with the same signals and statuses.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).parent.parent
TRAIN = str(ROOT / "train.py")


@cache
def server() -> ForkServerContext:
    """What forks processes that have imported torch, Lightning and posenc."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.forked"])
    # the folder by which it finds the tests, and the threads, of which torch reads the number when it is imported
    with patch.dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1"):
        forkserver.ensure_running()
    return context


class Forked:
    """`python WORDS` in the background, in a session of its own; what it prints goes to files.

    It does not outlive its test.
    """

    def __init__(
        self, words: list[str], out: Path, errors: Path | None = None, folder: Path = ROOT,
        around: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        from tests.forked import run  # imports torch, which not everybody who starts a command needs

        whole = {**os.environ, "OMP_NUM_THREADS": "1", **(around or {})}
        self._process = server().Process(target=run, args=(words, out, errors or out, folder, whole))
        self._process.start()
        weakref.finalize(self, _end, self._process)

    @property
    def pid(self) -> int:
        """Its number."""
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """Its exit status, or minus the signal that ended it; None while it runs."""
        return self._process.exitcode

    def wait(self, limit: float = 300) -> int:
        """The same, once it has ended. A process that is still at work after `limit` seconds is killed."""
        self._process.join(limit)
        found = self._process.exitcode
        if found is None:
            _end(self._process)
            raise TimeoutError(f"still at work after {limit:g} s")
        return found

    def send_signal(self, signum: int) -> None:
        """Signal it."""
        os.kill(self.pid, signum)


def _end(process: ForkServerProcess) -> None:
    if process.exitcode is None:
        process.kill()
        process.join()


def forked(*words: str, folder: Path = ROOT, **around: str) -> subprocess.CompletedProcess[str]:
    """`python WORDS` to its end, forked."""
    with tempfile.TemporaryDirectory() as told:
        out, errors = Path(told) / "out", Path(told) / "errors"
        status = Forked([*words], out, errors, folder, around).wait()
        return subprocess.CompletedProcess(words, status, out.read_text(), errors.read_text())


def python(*words: str, folder: Path = ROOT, **around: str) -> subprocess.CompletedProcess[str]:
    """`python WORDS` to its end, in a new interpreter."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", **around}
    line = [sys.executable, *words]
    return subprocess.run(line, capture_output=True, text=True, cwd=folder, env=env, timeout=300, check=False)
