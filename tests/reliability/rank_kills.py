"""`python -m tests.reliability.rank_kills`: two processes train one model; one of them, or the command, is killed.

Asked: the others end within 60 s and say why, and the same command goes on to the same end.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from posenc.runs.lock import HOLDER
from tests.conftest import ROOT
from tests.reliability.kills import RUN, STEPS, differences, outcome

LINE = (*RUN, f"trainer.max_steps={STEPS}", "trainer=ddp", "trainer.accelerator=cpu")
LIMIT = 60
VICTIMS = ("rank1", "rank0", "command")


def workers(parent: int) -> list[int]:
    """The processes that torch's launcher has started in the process `parent`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == parent:
                words = (path.parent / "cmdline").read_bytes()
                found += [int(path.parent.name)] if b"spawn_main" in words else []
    return found


def holder(folder: Path) -> int:
    """Rank 0, which holds the run folder."""
    return int((folder / HOLDER).read_text().split()[1])


def alive(pid: int) -> bool:
    """Whether it has not ended; a zombie has."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def started(folder: Path, log: Path) -> subprocess.Popen[bytes]:
    """The run, in the background."""
    line = [sys.executable, str(ROOT / "train.py"), *LINE, f"hydra.run.dir={folder}"]
    with log.open("a") as file:
        return subprocess.Popen(line, stdout=file, stderr=file, env=os.environ | {"OMP_NUM_THREADS": "1"})


def attempt(root: Path, victim: str) -> list[str]:
    """Kill a rank, or the command itself, after its first checkpoints, and give the command again; what is wrong."""
    folder, log, wrong = root / victim, root / f"{victim}.log", []
    first = started(folder, log)
    while not (folder / "checkpoints" / "previous.ckpt").exists():
        time.sleep(0.02)
        assert first.poll() is None, log.read_text()
    zero = holder(folder)
    (one,) = {*workers(first.pid)} - {zero}
    time.sleep(0.1)
    began = time.monotonic()
    processes = {"rank1": one, "rank0": zero, "command": first.pid}
    os.kill(processes[victim], signal.SIGKILL)
    while any(alive(each) for each in processes.values()) and time.monotonic() - began < LIMIT:
        first.poll()
        time.sleep(0.02)
    seconds = time.monotonic() - began
    first.kill()
    first.wait()
    for name, each in processes.items():
        if alive(each):
            wrong.append(f"{name} is alive {LIMIT} s after {victim} was killed")
            os.kill(each, signal.SIGKILL)
    words = log.read_text()
    said = next((line for line in words.splitlines() if "process rank" in line), "nothing")
    print(f"{victim} killed: the others ended after {seconds:.1f} s and said: {said}")
    if "Traceback" in words or (victim != "command" and f"process {victim} ended by SIGKILL" not in said):
        wrong.append(f"no clear message: {words[-2000:]}")
    if started(folder, log).wait():
        wrong.append(f"the same command again: {log.read_text()[-2000:]}")
    else:
        wrong += [f"{key} differs" for key in differences(outcome(root / "whole"), outcome(folder))]
    return wrong


def main(words: list[str] | None = None) -> int:
    """Kill each of two ranks and what has started them; status 1 if anything is wrong."""
    argparse.ArgumentParser(prog="python -m tests.reliability.rank_kills").parse_args(words)
    root = Path(tempfile.mkdtemp(prefix="rank_kills_"))
    assert not started(root / "whole", root / "whole.log").wait(), (root / "whole.log").read_text()
    wrong = [line for victim in VICTIMS for line in attempt(root, victim)]
    print("\n".join(wrong) or "3 of 3: the others ended, with a message; resumed to the same end, bit for bit")
    shutil.rmtree(root)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
