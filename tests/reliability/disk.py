"""`python -m tests.reliability.disk`: a disk that is full while a checkpoint is written, and while result.json is.

On a small tmpfs where this user may mount one, else with a limit on the size of files, which a write meets in the same
way. Asked: one clear error, an earlier checkpoint that loads, result.json whole or not there; and with room again the
same command ends like a run that never met a full disk.
"""

import argparse
import json
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from posenc.jobs import outcome as end_of_run
from posenc.training.checkpoint_file import DurableFiles, read
from tests.reliability.children import Child, finished
from tests.reliability.kills import RUN, STEPS, differences, outcome

SIZE = "size=24m"


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A file system of a few MiB at `folder`; whether it could be had."""
    folder.mkdir()
    mounted = not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", SIZE, "tmpfs", str(folder)], capture_output=True, check=False
    ).returncode
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=False)


class FullDisk(Child):
    """A run whose disk is full from the `number`-th call of `owner.name` on."""

    where: Path
    mounted: bool
    hook: tuple[Any, str, int]

    def _watch(self) -> None:
        owner, name, number = self.hook
        inner: Callable[..., Any] = getattr(owner, name)
        calls = 0

        def filled(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == number:
                self._fill()
            return inner(*arguments, **named)

        setattr(owner, name, filled)

    def _fill(self) -> None:
        if not self.mounted:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
            return
        with suppress(OSError), (self.where / "ballast").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))


def attempt(root: Path, name: str, steps: int, hook: tuple[Any, str, int]) -> list[str]:
    """What is wrong after a full disk at `hook`."""
    wrong = []
    with small_disk(root / name) as mounted:
        folder, log = root / name / "run", root / f"{name}.log"
        line = [*RUN, f"trainer.max_steps={steps}", f"hydra.run.dir={folder}"]
        child = FullDisk(line, log)
        child.where, child.mounted, child.hook = root / name, mounted, hook
        status = child.start().wait()
        words = log.read_text()
        print(f"{name} ({'tmpfs' if mounted else 'limit on file sizes'}): status {status}")
        print("   ", "\n    ".join(words.strip().splitlines()[-3:]))
        if status not in (1, 2) or "Traceback" in words or not re.search("No space left|File too large", words):
            wrong.append(f"{name}: status {status}, {words}")
        found = [
            path for path in (folder / "checkpoints").glob("*.ckpt") if path.name in ("last.ckpt", "previous.ckpt")
        ]
        try:
            loaded = sorted(read(path)["global_step"] for path in found)
            print(f"    checkpoints of steps {loaded} load")
            if not loaded:
                wrong.append(f"{name}: no checkpoint is left")
        except ValueError as error:
            wrong.append(f"{name}: {error}")
        if (folder / "result.json").exists():
            json.loads((folder / "result.json").read_text())
        if list(folder.rglob("*.part")):
            wrong.append(f"{name}: {list(folder.rglob('*.part'))} left")
        (root / name / "ballast").unlink(missing_ok=True)
        if Child(line, log).start().wait():
            wrong.append(f"{name}: with room again, {log.read_text()}")
        wrong += [f"{name}: {key} differs" for key in differences(outcome(root / "whole"), outcome(folder))]
    return wrong


def main(words: list[str] | None = None) -> int:
    """Fill, look, empty, go on; status 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.disk")
    parser.add_argument("--steps", type=int, default=STEPS)
    asked = parser.parse_args(words)
    torch.set_num_threads(1)
    root = Path(tempfile.mkdtemp(prefix="disk_"))
    finished([*RUN, f"trainer.max_steps={asked.steps}", f"hydra.run.dir={root / 'whole'}"], root / "log")
    wrong = attempt(root, "checkpoint", asked.steps, (DurableFiles, "save_checkpoint", 6))
    wrong += attempt(root, "result", asked.steps, (end_of_run, "write_result", 1))
    print("\n".join(wrong) or "2 of 2: a clear error, an earlier checkpoint that loads, the same end with room again")
    shutil.rmtree(root)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
