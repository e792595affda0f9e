"""Runs many small trainings on all cores, and writes each answer at once so that a stopped study can be resumed."""

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
"""Upper limit of the size of answers.jsonl in bytes; usually it is a few thousand."""
Case = tuple[Any, ...]
"""The arguments of one piece of work: strings and numbers."""
Row = tuple[Any, ...]
"""One row of an answer: strings and numbers."""
Work = Callable[[Any], Sequence[Row]]


@dataclass
class Ledger:
    """The answers of an unfinished study, also written to a file if `path` is given.

    The first line of the file is the identity of the study; each other line is the answer to one case. Incomplete lines
    are ignored.
    """

    path: Path | None = None
    known: dict[str, list[Row]] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, identity: str, is_row: Callable[[Row], bool] | None = None) -> "Ledger | None":
        """Create a file or read an existing one. Returns None if it belongs to another study.

        is_row  whether a value is a row of an answer; by default any row of strings and numbers is
        """
        ledger = cls(path)
        try:
            first, *lines = read_bytes(path, ANSWERS_LIMIT).splitlines() or [b""]
        except FileNotFoundError:
            write_text(path, json.dumps(identity) + "\n")
            return ledger
        except ValueError as error:
            raise ConfigError(f"{path} cannot be read ({error}); delete it to begin the study again.") from error
        if _parsed(first) != identity:
            return None
        answers = [_answer(_parsed(line), is_row or _plain) for line in lines]
        ledger.known = dict(filter(None, answers))
        odd = answers[:-1].count(None)  # a killed study leaves an incomplete last line
        if odd:
            print(f"{path}: {odd} of {len(lines)} lines are no answers; their cases are computed again.", flush=True)
        return ledger

    def add(self, title: str, case: Case, rows: Sequence[Row]) -> None:
        """Write the answer to a case."""
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
    """(key, rows) of a parsed line, or None if the line is no answer."""
    match found:
        case [str(title), list(case), list(rows)] if all(isinstance(row, list) and is_row(tuple(row)) for row in rows):
            return _key(title, case), [tuple(row) for row in rows]
    return None


def _key(title: str, case: Sequence[Any]) -> str:
    return json.dumps([title, case])


@dataclass(frozen=True)
class Workers:
    """Processes that share work.

    processes  the number of processes; None: one for each core
    ledger     the record of answers; None: answers are not kept
    """

    processes: int | None = None
    ledger: Ledger | None = None

    def spread(self, work: Work, cases: Sequence[Case], title: str) -> list[Row]:
        """The rows of work(case) for every case, in order.

        `work` and the cases are pickled. Each process, also this one if processes=1, computes with one thread, so that
        sums have the same order, and results are bit-equal for any number of processes. Ctrl-C ends all of them.
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
    """Inside, torch computes with one thread, because a second thread gains nothing on small tensors."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _begin() -> None:
    """Set up a process: it has one thread, ignores Ctrl-C (the parent handles it), and ends with the parent."""
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()  # returns when the parent has ended, also after a kill
    os._exit(1)
