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
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

from posenc.checks import ConfigError
from posenc.runs.files import open_file, read_bytes
from posenc.runs.writing import write_text

ANSWERS_LIMIT = 4 * 2**20
"""Bytes of the answers of a study that is not finished; they have some thousand."""
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
    def open(cls, path: Path, identity: str, is_row: Callable[[Row], bool] | None = None) -> "Ledger | None":
        """Begin a file or go on with one; None where it belongs to another study.

        is_row  whether something is a row of an answer; by default all that holds strings and numbers is
        """
        ledger = cls(path)
        try:
            first, *lines = read_bytes(path, ANSWERS_LIMIT).splitlines() or [b""]
        except FileNotFoundError:
            write_text(path, json.dumps(identity) + "\n")
            return ledger
        except ValueError as error:
            raise ConfigError(f"{path} cannot be gone on with ({error}); delete it to begin the study anew.") from error
        if _parsed(first) != identity:
            return None
        answers = [_answer(_parsed(line), is_row or _plain) for line in lines]
        ledger.known = dict(filter(None, answers))
        odd = answers[:-1].count(None)  # a last one that is torn is what a kill leaves
        if odd:
            told = "1 line holds no answer and is" if odd == 1 else f"{odd} lines hold no answers and are"
            print(f"{path}: {told} left out; what they were about is worked out again.", flush=True)
        return ledger

    def add(self, title: str, case: Case, rows: Sequence[Row]) -> None:
        """Write down what a case answered."""
        self.known[_key(title, case)] = [*rows]
        if self.path is None:
            return
        with os.fdopen(open_file(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND), "ab+") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            torn = b"" if file.read(1) == b"\n" else b"\n"
            file.write(torn + json.dumps([title, case, rows]).encode() + b"\n")


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _plain(row: Row) -> bool:
    return all(isinstance(each, str | int | float) for each in row)


def _answer(found: Any, is_row: Callable[[Row], bool]) -> tuple[str, list[Row]] | None:
    """Key and rows of a line that was parsed, or nothing where it is no such thing."""
    match found:
        case [str(title), list(case), list(rows)] if all(isinstance(row, list) and is_row(tuple(row)) for row in rows):
            return _key(title, case), [tuple(row) for row in rows]
    return None


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
