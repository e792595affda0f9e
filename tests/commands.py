"""Commands as a user starts them: `python WORDS` in processes of their own, in the background or to their end."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
TRAIN = str(ROOT / "train.py")


class Started:
    """`python WORDS` in the background, in a session of its own; what it prints goes to files."""

    def __init__(
        self, words: list[str], out: Path, errors: Path | None = None, folder: Path = ROOT,
        around: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        whole = {**os.environ, "OMP_NUM_THREADS": "1", **(around or {})}
        with out.open("ab") as told, (errors or out).open("ab") as wrong:
            self._process = subprocess.Popen(
                [sys.executable, *words], stdout=told, stderr=wrong, cwd=folder, env=whole, start_new_session=True
            )

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def poll(self) -> int | None:
        """Its exit status, or minus the signal that ended it; None while it runs."""
        return self._process.poll()

    def wait(self, limit: float = 300) -> int:
        """The same, once it has ended. A process that is still at work after `limit` seconds is killed."""
        try:
            return self._process.wait(limit)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise

    def send_signal(self, signum: int) -> None:
        """Signal it."""
        os.kill(self.pid, signum)


def python(*words: str, folder: Path = ROOT, **around: str) -> subprocess.CompletedProcess[str]:
    """`python WORDS` to its end."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", **around}
    line = [sys.executable, *words]
    return subprocess.run(line, capture_output=True, text=True, cwd=folder, env=env, timeout=300, check=False)
