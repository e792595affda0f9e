"""The journal of a sweep command: the status of each job, in files that the processes of every launcher can write.

<sweep folder>/.sweeps/<id>/plan.json     how many jobs, when it began, the overrides
                            <number>.json one job: running, or its status
               .sweeps/<id>.json          all of this in one file, after the end of the command
"""

import json
import math
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import Any

from posenc.runs.reading import TABLE, read_json
from posenc.runs.writing import write_text

RUNNING = "running"
HYDRAS = "multirun.yaml"
"""A file that Hydra writes into the folder of a sweep before its first job."""
_OWN: dict[Path, dict[str, dict[str, Any]]] = {}
"""The notes of this process, by the folder of their journal. They complete the table of a sweep if the disk is full."""


def sweep_folder(hydra: Any) -> Path:
    """The folder of a sweep: hydra.sweep.dir, relative to the folder in which the command was started."""
    return Path(hydra.runtime.cwd, hydra.sweep.dir)


@dataclass(frozen=True)
class Journal:
    """The journal of one command."""

    folder: Path

    @classmethod
    def of(cls, hydra: Any) -> "Journal | None":
        """The journal that Hydra's config names; None outside a sweep."""
        watcher = hydra.callbacks.get("summary") if hydra.callbacks else None
        if watcher is None or hydra.sweep.dir is None:
            return None
        return cls(sweep_folder(hydra) / ".sweeps" / watcher.id)

    def plan(self, total: int | None, overrides: Sequence[str], finished: int = 0) -> None:
        """Begin the journal, with the number of jobs, if it is known, and the number of finished jobs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        plan = {"total": total, "finished": finished, "began": time.time(), "overrides": list(overrides)}
        self._write("plan", plan)

    def note(self, number: int, state: str, **more: Any) -> None:
        """Record that a job is `running`, or its final status. If that cannot be written, only this process has it."""
        content = {"number": number, "state": state, "pid": os.getpid(), **more}
        if state != RUNNING:
            content["ended"] = time.time()
        with suppress(OSError):
            self._write(str(number), content)

    def _write(self, name: str, content: dict[str, Any]) -> None:
        _OWN.setdefault(self.folder, {})[name] = content
        if self.folder.exists():
            write_text(self.folder / f"{name}.json", json.dumps(content, indent=1) + "\n")

    def read(self) -> tuple[dict[str, Any], dict[int, dict[str, Any]]]:
        """The plan, and the newest note of each job by its number."""
        notes = dict(_OWN.get(self.folder, {}))
        for path in self.folder.glob("*.json"):
            if path.stem not in notes:
                notes[path.stem] = read_json(path)
        jobs = {int(name): note for name, note in notes.items() if name.isdecimal()}
        return notes["plan"], dict(sorted(jobs.items()))

    def discard(self) -> None:
        """Remove the journal of a command without any job, and the folder of its sweep if that is empty."""
        shutil.rmtree(self.folder, ignore_errors=True)
        _OWN.pop(self.folder, None)
        journals, root = self.folder.parent, self.folder.parent.parent
        with suppress(OSError):
            journals.rmdir()
            if [path.name for path in root.iterdir()] == [HYDRAS]:
                (root / HYDRAS).unlink()
            root.rmdir()

    def close(self) -> None:
        """Replace the files of the jobs by one file."""
        plan, jobs = self.read()
        content = json.dumps(plan | {"jobs": list(jobs.values())}, indent=1) + "\n"
        write_text(self.folder.with_name(self.folder.name + ".json"), content)
        shutil.rmtree(self.folder, ignore_errors=True)
        _OWN.pop(self.folder, None)


def read_closed(path: Path) -> tuple[dict[str, Any], dict[int, dict[str, Any]]]:
    """What `Journal.read` returns, for a command that has ended. Raises OSError, or ValueError or KeyError."""
    content = read_json(path, TABLE)
    return content, {int(job["number"]): job for job in content["jobs"]}


def time_left(plan: Mapping[str, Any], jobs: Mapping[int, Mapping[str, Any]]) -> float | None:
    """Estimated seconds until the last job ends. Jobs that are skipped take no time.

    ⌈jobs still to train / most jobs at once⌉ · median seconds of a trained job. If the result of a job has its seconds,
    they are used, because the first job also waits for imports.
    """
    ended = [job for job in jobs.values() if job["state"] != RUNNING]
    trained = [job for job in ended if not job["skipped"]]
    if plan["total"] is None or not trained:
        return None
    at_work = [job for job in jobs.values() if not job["skipped"]]
    steps = [(job["began"], 1) for job in at_work] + [(job["ended"], -1) for job in trained]
    at_once = max(1, *accumulate(step for _, step in sorted(steps)))  # at equal times an end comes before a beginning
    to_skip = max(0, plan.get("finished", 0) - (len(ended) - len(trained)))
    to_train = max(0, plan["total"] - len(ended) - to_skip)
    return math.ceil(to_train / at_once) * median(_seconds(job) for job in trained)


def _seconds(job: Mapping[str, Any]) -> float:
    return (job.get("result") or {}).get("wall_seconds") or job["ended"] - job["began"]
