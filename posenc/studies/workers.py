"""Many small trainings on all cores: one process a core, one thread each, so that the numbers depend on neither.

What was worked out is written down at once, so that a study that is stopped goes on where it was.
"""

import json
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

from posenc.runs import write_text

Case = tuple[Any, ...]
"""What one piece of work is told: strings and numbers."""
Row = tuple[Any, ...]
"""One of its answers: the same."""
Work = Callable[[Any], Sequence[Row]]


@dataclass
class Ledger:
    """The answers of a study that is not finished, kept in a file if it has one.

    The file has a line for the identity of the study, then one for each case; a line that was cut off in the middle
    counts as not written.
    """

    path: Path | None = None
    known: dict[str, list[Row]] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, identity: str) -> "Ledger | None":
        """Begin a file or go on with one; None where it belongs to another study."""
        ledger = cls(path)
        if not path.exists():
            write_text(path, json.dumps(identity) + "\n")
            return ledger
        first, *lines = _whole(path.read_bytes()) or [None]
        if first != identity:
            return None
        ledger.known = {_key(title, case): [tuple(row) for row in rows] for title, case, rows in lines}
        return ledger

    def add(self, title: str, case: Case, rows: Sequence[Row]) -> None:
        """Write down what a case answered."""
        self.known[_key(title, case)] = [*rows]
        if self.path is None:
            return
        with self.path.open("ab+") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            torn = b"" if file.read(1) == b"\n" else b"\n"
            file.write(torn + json.dumps([title, case, rows]).encode() + b"\n")


def _whole(content: bytes) -> list[Any]:
    found = []
    for line in content.splitlines():
        with suppress(ValueError):
            found.append(json.loads(line))
    return found


def _key(title: str, case: Sequence[Any]) -> str:
    return json.dumps([title, case])


@dataclass(frozen=True)
class Workers:
    """Processes that work is spread over.

    processes  how many; None: one for each core
    ledger     where answers are written down and found again; None: nowhere
    """

    processes: int | None = None
    ledger: Ledger | None = None

    def spread(self, work: Work, cases: Sequence[Case], title: str) -> list[Row]:
        """All that work(case) answers for every case, in their order.

        `work` and the cases are pickled. Each process computes with one thread, also where it is this one
        (processes=1): the order in which sums are taken, and so every bit, is the same however many there are. Ctrl-C
        ends them all.
        """
        ledger = Ledger() if self.ledger is None else self.ledger
        missing = [case for case in cases if _key(title, case) not in ledger.known]
        for case, rows in zip(missing, self._work(work, missing, title), strict=True):
            ledger.add(title, case, rows)
        return [row for case in cases for row in ledger.known[_key(title, case)]]

    def _work(self, work: Work, cases: Sequence[Case], title: str) -> Iterator[Sequence[Row]]:
        processes = min(len(cases), self.processes or len(os.sched_getaffinity(0)))
        if processes <= 1:
            with one_thread():
                for case in track(cases, title, transient=True):
                    yield work(case)
            return
        with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _begin) as pool:
            try:
                yield from track(pool.map(work, cases), title, total=len(cases), transient=True)
            except BaseException:
                started = [*(pool._processes or {}).values()]
                pool.shutdown(wait=False, cancel_futures=True)
                for process in started:
                    process.terminate()
                raise


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, torch computes with one thread: a second gains nothing on small tensors, and spins on busy cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _begin() -> None:
    """What each process does first: one thread; Ctrl-C is the parent's to answer, and nobody outlives it."""
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()  # returns when it is gone, however it went
    os._exit(1)
