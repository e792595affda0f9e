"""`python -m tests.reliability.sweep_kills --kills 10`: a joblib sweep of 6 runs, killed again and again.

Each time after a new checkpoint and a random moment more: the command itself, one of its workers, or all of them. A
worker whose command was killed ends its run by itself; the next command waits for it. At the end every run must equal
that of a sweep in one process, and none may have been run to completion twice.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import torch
from rich.console import Console

from tests.conftest import ROOT
from tests.reliability.children import finished
from tests.reliability.kills import RUN, STEPS, differences, outcome

SWEEP = (
    "-m",
    f"trainer.max_steps={STEPS}",
    "encoding=none,rope,t5",
    "seed=0,1",
    *(word for word in RUN if "encoding=" not in word),
)


def workers(pid: int) -> list[int]:
    """The processes that `pid` started and that compute."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            _, _, rest = path.read_text().rpartition(")")
            if int(rest.split()[1]) == pid and b"popen_loky" in (path.parent / "cmdline").read_bytes():
                found.append(int(path.parent.name))
    return found


def newest(root: Path) -> float:
    """When the last checkpoint below was published."""
    return max((path.stat().st_mtime for path in root.rglob("last.ckpt")), default=0.0)


def completed(root: Path) -> Counter[str]:
    """How often each run folder was run to completion, by the journals of all commands."""
    count: Counter[str] = Counter()
    for journal in (root / ".sweeps").iterdir():
        if journal.is_dir():
            jobs = [json.loads(path.read_text()) for path in journal.glob("[0-9]*.json")]
        else:
            jobs = json.loads(journal.read_text())["jobs"]
        count.update(job["folder"] for job in jobs if job["state"] == "completed" and not job["skipped"])
    return count


def main(words: list[str] | None = None) -> int:
    """Kill, go on, compare; status 1 if anything differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.sweep_kills")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(words)
    torch.set_num_threads(1)
    chance, root, say = random.Random(asked.seed), Path(tempfile.mkdtemp(prefix="sweep_kills_")), Console().print
    reference, sweep, log = root / "reference", root / "sweep", root / "log"
    finished([*SWEEP, f"hydra.sweep.dir={reference}"], root / "reference.log")
    line = [sys.executable, str(ROOT / "train.py"), *SWEEP, "launcher=joblib", "hydra.launcher.n_jobs=2"]
    line += [f"hydra.sweep.dir={sweep}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    kills: Counter[str] = Counter()
    written: dict[Path, int] = {}
    rewritten, status = set[Path](), 1
    while status or sum(kills.values()) < asked.kills:
        began = time.time()
        with log.open("a") as file:
            command = subprocess.Popen(line, stdout=file, stderr=file, env=environment, start_new_session=True)
        while sum(kills.values()) < asked.kills and command.poll() is None:
            if newest(sweep) > began:
                time.sleep(chance.uniform(0, 1.5))
                how = chance.choice(["the command", "a worker", "all"])
                own = workers(command.pid)
                if how == "a worker" and own:
                    os.kill(chance.choice(own), signal.SIGKILL)
                elif how == "all":
                    os.killpg(command.pid, signal.SIGKILL)
                else:
                    how = "the command"
                    command.kill()
                kills[how] += 1
                say(f"kill {sum(kills.values())}: {how}")
                break
            time.sleep(0.05)
        status = command.wait()
        for path in sweep.rglob("result.json"):
            stamp = path.stat().st_mtime_ns
            rewritten |= {path} if written.setdefault(path, stamp) != stamp else set()
        if not status and sum(kills.values()) < asked.kills:
            say("the sweep ended before all kills; longer runs are needed")
            break
    runs = sorted(path.parent.relative_to(reference) for path in reference.rglob("result.json"))
    wrong = {str(run): differences(outcome(reference / run), outcome(sweep / run)) for run in runs}
    unequal = {run: keys for run, keys in wrong.items() if keys}
    twice = [run for run, times in completed(sweep).items() if times > 1]
    print(
        f"{len(runs) - len(unequal)} of {len(runs)} equal after {sum(kills.values())} kills ({dict(kills)}); ", end=""
    )
    print(f"run twice to completion: {len(twice)}; results written twice: {len(rewritten)}")
    for run, keys in unequal.items():
        print(run, keys[:4])
    if not (unequal or twice or rewritten):
        shutil.rmtree(root)
        return 0
    print(root)
    return 1


if __name__ == "__main__":
    sys.exit(main())
