"""Give train.py thousands of drawn commands: `python -m tests.reliability.overrides --times 2000`.

Each either trains, or is refused with one message and leaves nothing behind: no traceback, no hang. Those that do
otherwise are printed as they can be given again, and the exit status is then 1.
"""

import argparse
import io
import multiprocessing
import os
import resource
import shlex
import shutil
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tests.reliability.commands import BOOK, commands
from tests.reliability.judgement import (
    DIED,
    GOOD,
    HANG,
    LEFT,
    REFUSED,
    TRACEBACK,
    TRAINED,
    UNCLEAR,
    Outcome,
    judge,
    observe,
)

MEMORY = 8 * 2**30
"""Bytes that a command may ask for: more is a mistake that was not refused, and must not take the machine down."""


def draw(times: int, start: int) -> Iterator[tuple[str, ...]]:
    """So many commands from one seed."""
    found: list[tuple[str, ...]] = []

    slow = [HealthCheck.too_slow, HealthCheck.large_base_example]

    @settings(max_examples=2, phases=[Phase.generate], deadline=None, database=None, suppress_health_check=slow)
    @given(commands(processes=True))
    def collect(words: tuple[str, ...]) -> None:
        found.append(words)

    for i in range(times):  # each by itself: in one long draw Hypothesis repeats itself with small changes
        found.clear()
        seed(f"{start}/{i}")(collect)()
        yield found[-1]  # the first is always the simplest


def work(pipe: Connection, root: Path) -> None:
    """Give commands in this process, each in a folder of its own, as long as some come."""
    import torch

    from tests.reliability.children import give

    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, resource.RLIM_INFINITY))
    (root / "here" / BOOK).parent.mkdir(parents=True, exist_ok=True)
    (root / "book.txt").write_text("the cat sat on the mat. " * 400, encoding="utf-8")
    folder = root / "here"
    while (words := pipe.recv()) is not None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        os.chdir(folder)
        with caught(root) as said:
            status = give(words)
        printed, errors = said
        pipe.send(observe(status, printed, errors, folder))


@contextmanager
def caught(root: Path) -> Iterator[list[str]]:
    """Whatever is written to stdout and stderr inside, by Python or below it, is in the list afterwards."""
    said: list[str] = []
    files = [(root / name).open("w+b") for name in ("stdout", "stderr")]
    kept = [os.dup(number) for number in (1, 2)]
    try:
        for number, file in zip((1, 2), files, strict=True):
            os.dup2(file.fileno(), number)
        yield said
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for number, back, file in zip((1, 2), kept, files, strict=True):
            os.dup2(back, number)
            os.close(back)
            file.seek(0)
            said.append(io.TextIOWrapper(file, encoding="utf-8", errors="replace").read())


class Worker:
    """A process that gives commands, and another in its place where one hangs or dies."""

    def __init__(self, limit: float) -> None:
        self.limit, self.root = limit, Path(tempfile.mkdtemp(prefix="overrides-"))
        self.process: SpawnProcess | None = None

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        process = context.Process(target=work, args=(theirs, self.root))
        process.start()
        self.process = process
        theirs.close()

    def give(self, words: tuple[str, ...]) -> tuple[str, Outcome]:
        """What became of one command."""
        if self.process is None:
            self._start()
            self.limit, usual = self.limit + 60, self.limit  # the first command waits for imports
        else:
            usual = self.limit
        outcome, verdict = Outcome(1), HANG
        try:
            self.pipe.send(words)
            if self.pipe.poll(self.limit):
                outcome = self.pipe.recv()
                verdict = judge(outcome)
        except (EOFError, OSError):
            verdict = DIED
        self.limit = usual
        if verdict in (HANG, DIED):
            self.close()
        return verdict, outcome

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            with suppress(OSError):
                self.pipe.send(None)
            self.process.join(2)
            if self.process.is_alive():
                self.process.kill()
                self.process.join()
            self.pipe.close()
            self.process = None

    def remove(self) -> None:
        """End the process and remove its folder."""
        self.close()
        shutil.rmtree(self.root, ignore_errors=True)


def give_all(
    drawn: Iterator[tuple[str, ...]], times: int, jobs: int, limit: float, show: bool, console: Console
) -> Counter[str]:
    """How many commands came to each end; those that came to a bad one are printed."""
    counts: Counter[str] = Counter()
    turn = threading.Lock()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress, ThreadPoolExecutor(jobs) as pool:
        line = progress.add_task("commands", total=times)

        def share() -> None:
            worker = Worker(limit)
            try:
                while True:
                    with turn:
                        words = next(drawn, None)
                    if words is None:
                        return
                    verdict, outcome = worker.give(words)
                    counts[verdict] += 1
                    if verdict not in GOOD:
                        command = shlex.join(["python", "train.py", *words])
                        said = (outcome.errors or outcome.printed)[-1500:]
                        left = f" ({', '.join(outcome.files[:3])})" if outcome.files else ""
                        console.print(f"{verdict}{left}: {command}\n{said}", markup=False, highlight=False)
                    elif show and verdict == REFUSED:
                        console.print(f"{' '.join(words)}\n    {outcome.errors}", markup=False, highlight=False, end="")
                    progress.update(line, advance=1)
                    if not console.is_terminal and sum(counts.values()) % 100 == 0:
                        console.print(f"{sum(counts.values())} of {times}", highlight=False)
            finally:
                worker.remove()

        for done in [pool.submit(share) for _ in range(jobs)]:
            done.result()
    return counts


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw, give, count; 1 if one command came to a bad end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=2000, help="how many commands")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")
    parser.add_argument("--jobs", type=int, default=1, help="processes that give them")
    parser.add_argument("--limit", type=float, default=60, help="seconds after which a command counts as a hang")
    parser.add_argument("--show", action="store_true", help="the message of every command that is refused")
    asked = parser.parse_args(arguments)
    console = Console(soft_wrap=True)
    counts = give_all(draw(asked.times, asked.seed), asked.times, asked.jobs, asked.limit, asked.show, console)
    kinds = (TRAINED, REFUSED, TRACEBACK, HANG, LEFT, UNCLEAR, DIED)
    console.print(f"tried {asked.times}: " + ", ".join(f"{counts[kind]} {kind}" for kind in kinds), highlight=False)
    return int(any(counts[kind] for kind in kinds if kind not in GOOD))


if __name__ == "__main__":
    sys.exit(main())
