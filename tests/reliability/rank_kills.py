"""`python -m tests.reliability.rank_kills`: two processes train one model, and one of them is killed.

Asked: the other ends within 60 s and says why, and the same command goes on to the same end.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from tests.conftest import ROOT
from tests.reliability.kills import RUN, STEPS, differences, outcome

LINE = (*RUN, f"trainer.max_steps={STEPS}", "trainer=ddp", "trainer.accelerator=cpu")
LIMIT = 60


def followers(folder: Path) -> list[int]:
    """The processes that a run in `folder` has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"posenc.jobs.follow" in words and str(folder).encode() in words:
                found.append(int(path.parent.name))
    return found


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


def attempt(root: Path, victim: int, again: bool = True) -> list[str]:
    """Kill rank `victim` after its first checkpoints, give the command `again`; what is wrong."""
    folder, log, wrong = root / f"rank{victim}", root / f"rank{victim}.log", []
    first = started(folder, log)
    while not (folder / "checkpoints" / "previous.ckpt").exists():
        time.sleep(0.02)
        assert first.poll() is None, log.read_text()
    (second,) = followers(folder)
    time.sleep(0.1)
    began = time.monotonic()
    os.kill(second if victim else first.pid, signal.SIGKILL)
    other = first.pid if victim else second
    while alive(other) and time.monotonic() - began < LIMIT:
        first.poll()
        time.sleep(0.02)
    seconds = time.monotonic() - began
    first.kill()
    first.wait()
    if alive(other):
        wrong.append(f"rank {1 - victim} is alive {LIMIT} s after rank {victim} was killed")
        os.kill(other, signal.SIGKILL)
    words = log.read_text() if victim else (folder / "rank1.log").read_text()
    if not again:
        return wrong if re.search("process rank1 ended", words) else [words]
    said = next((line for line in words.splitlines() if "process rank" in line), "nothing")
    print(f"rank {victim} killed: the other ended after {seconds:.1f} s and said: {said}")
    if not re.search(r"process rank1 ended|process rank1 ends, for another one has", words) or "Traceback" in words:
        wrong.append(f"no clear message: {words[-2000:]}")
    if started(folder, log).wait():
        wrong.append(f"the same command again: {log.read_text()[-2000:]}")
    else:
        wrong += [f"{key} differs" for key in differences(outcome(root / "whole"), outcome(folder))]
    return wrong


def main(words: list[str] | None = None) -> int:
    """Kill each of two processes; status 1 if anything is wrong."""
    argparse.ArgumentParser(prog="python -m tests.reliability.rank_kills").parse_args(words)
    root = Path(tempfile.mkdtemp(prefix="rank_kills_"))
    assert not started(root / "whole", root / "whole.log").wait(), (root / "whole.log").read_text()
    wrong = [line for victim in (1, 0) for line in attempt(root, victim)]
    print("\n".join(wrong) or "2 of 2: the other ended with a message; resumed to the same end, bit for bit")
    shutil.rmtree(root)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
