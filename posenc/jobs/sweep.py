"""The output of a sweep during its jobs and at its end, for every launcher."""

import logging
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.utils import to_absolute_path
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from posenc.checks import ConfigError
from posenc.config import launching
from posenc.config.effect import typed_words
from posenc.config.mistakes import BROKEN_OFF, MISTAKE
from posenc.jobs import summary
from posenc.jobs.compose import read_once
from posenc.jobs.job import reason
from posenc.jobs.plan import check_values, composed, finished_before, jobs_of, opening, progress, to_be_run
from posenc.runs.files import EVENTS
from posenc.runs.folder import refuse_links
from posenc.runs.result import RESULT
from posenc.runs.sweep_journal import RUNNING, Journal, sweep_folder
from posenc.terminal import count, say

LEDGER_ROWS = "ledger.csv"
"""The file in the folder of a sweep with the runs that it took from its ledger."""
LOOK_EVERY = 0.5
"""Seconds between two readings of the journal while other processes work."""


class SweepSummary(Callback):
    """Prints a line for each job that ends and a table at the end. The status is 1 unless every job completed.

    Hydra sends a copy of this object to the processes that its launcher starts. Only the first process prints. It reads
    the journal after each of its own jobs, and in a thread that waits for jobs of other processes.

    id  the name of this command's journal
    """

    def __init__(self, id: str) -> None:
        self.id, self.parent, self._told = id, os.getpid(), set[int]()
        self._journal: Journal | None = None
        self._child = False
        self._ended, self._turn = threading.Event(), threading.Lock()
        self._failed = False

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_ended", "_turn")}

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Count the jobs, begin the journal, begin to watch."""
        try:
            root = sweep_folder(config.hydra)
            if root.is_dir():
                refuse_links(root)
            launching.check_sweep(config, config.hydra)
            check_ledger(config)
            read_once()
            jobs, finished = None, 0
            with suppress(HydraException):  # Hydra prints the error later
                jobs = jobs_of(config)
                check_claim(config, jobs or ())
                finished = finished_before(config, jobs or ())
                if jobs is not None and finished < len(jobs):
                    check_values(config, jobs)
        except (ConfigError, OmegaConfBaseException) as error:
            print(f"error: {reason(error)}", file=sys.stderr)
            sys.exit(MISTAKE)  # Hydra would turn the error into a warning and go on
        logging.getLogger(BasicSweeper.__module__.replace("sweeper", "launcher")).setLevel(logging.WARNING)
        self._journal = Journal.of(config.hydra)
        assert self._journal is not None
        if jobs is not None and not jobs:
            why = "the sweep has no runs: one of its lists of values, ranges or globs is empty."
            print(f"error: {why}", file=sys.stderr)
            sys.exit(MISTAKE)
        total = config.hydra.sweeper.get("n_trials") if jobs is None else len(jobs)
        try:
            self._journal.plan(total, typed_words(config.hydra), finished)
        except OSError as error:  # Hydra would go on after any other error
            why = f"{error.filename} cannot be written ({error.strerror})"
            print(f"error: {why}; choose another hydra.sweep.dir, or make room.", file=sys.stderr)
            sys.exit(MISTAKE)
        say(opening(root, jobs, total, self._journal.read()[0]["finished"]))
        BROKEN_OFF[:] = [lambda: self._break_off(config)]
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_EVERY):
            with suppress(OSError, ValueError, KeyError):  # a lasting error is reported at the end
                self._tell(others=True)

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Find out whether this process is the first one."""
        self._child = os.getppid() == self.parent

    def on_job_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Report a job of this process. A worker whose first process was killed exits."""
        if self._child and os.getppid() != self.parent:
            os._exit(0)  # a worker of joblib would wait for ever for the killed process
        if os.getpid() == self.parent and self._journal is not None:
            self._tell(others=False)

    def _tell(self, others: bool) -> None:
        """Print a line for each job that has ended since the last time."""
        assert self._journal is not None
        with self._turn:
            plan, jobs = self._journal.read()
            for number, job in jobs.items():
                if job["state"] == RUNNING or number in self._told or (others and job["pid"] == self.parent):
                    continue
                self._told.add(number)
                line = f"[{len(self._told)}/{plan['total'] or '?'}] {summary.line(Path(job['folder']), job['result'])}"
                line += " · finished before, skipped" if job["skipped"] else progress(plan, jobs)
                say(line, markup=True)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Report the last jobs, print the table, close the journal, set the exit status.

        Hydra would turn an error here into a warning. Therefore each part is tried by itself, and a part that fails
        makes the command fail.
        """
        BROKEN_OFF.clear()
        if not self._end(config):
            sys.exit(1)

    def _break_off(self, config: DictConfig) -> None:
        """If an error ended the command, report the jobs that have ended."""
        assert self._journal is not None
        if self._journal.read()[1]:
            self._end(config)
        else:
            self._ended.set()
            self._journal.discard()

    def _end(self, config: DictConfig) -> bool:
        """Report and close everything. Returns whether all jobs completed and all parts succeeded."""
        journal = self._journal
        assert journal is not None
        self._ended.set()
        root, complete = sweep_folder(config.hydra).absolute(), False
        sources = [root]
        with self._part("the lines of the last runs"):
            self._tell(others=False)
        with self._part("the sweep's table"):
            plan, jobs = journal.read()
            complete = self._table(root, plan, jobs)
        with self._part("the report"):
            plan, jobs = journal.read()
            taken = [job["result"]["config_hash"] for job in jobs.values() if job.get("ledger")]
            sources = sources_of(root, [from_ledger(config, root, taken)] if taken else [])
            if sources:  # otherwise every run has failed before it wrote a result, and the table has said why
                report(root, sources)
        with self._part("TensorBoard's command"):
            summary.print_tensorboard(root)
        if sources and config.get("claim") is not None:
            with self._part("the verdict"):
                from posenc.published import sweep

                sweep.judge(config, sources, root)
        with self._part("the sweep's journal"):
            journal.close()
        return complete and not self._failed

    @contextmanager
    def _part(self, what: str) -> Iterator[None]:
        """A context manager for one part of the end. It prints an error as one sentence; the other parts follow."""
        try:
            yield
        except Exception as error:
            self._failed = True
            known = isinstance(error, ConfigError | OSError)
            why = " ".join(str(error).split()) if known else f"{type(error).__name__}: {' '.join(str(error).split())}"
            print(f"error: {what} failed: {why}", file=sys.stderr)

    @staticmethod
    def _table(root: Path, plan: Mapping[str, Any], jobs: Mapping[int, Mapping[str, Any]]) -> bool:
        """Print the table of all jobs. Returns whether all completed."""
        ended = {number: job for number, job in jobs.items() if job["state"] != RUNNING}
        rows = [(Path(job["folder"]), job["result"]) for job in ended.values()]
        summary.print_sweep(root, rows)
        skipped = sum(job["skipped"] for job in ended.values())
        if skipped:
            left = len(ended) - skipped
            trained = f"{left} {'was' if left == 1 else 'were'} run" if left else "nothing was left to train"
            print(f"{skipped} of {len(ended)} runs were finished already, {trained}; force=true runs them again")
        lost = (plan["total"] or len(jobs)) - len(ended)
        if lost:
            why = f"their processes died, or could not write to {root}"
            print(f"{count(lost, 'job')} left no result: {why}. The same command runs the missing runs.")
        return not lost and all(job["state"] == "completed" for job in ended.values())


def check_claim(config: DictConfig, jobs: Sequence[Sequence[str]]) -> None:
    """Raise ConfigError if the sweep tests a claim that these jobs cannot decide."""
    if config.get("claim") is None:
        return
    from posenc.published import sweep  # Lightning, which other sweeps import only in their first run

    claim = sweep.claim_of(config)
    for made in composed(config, jobs):
        claim.check_arm(config.hydra.runtime.choices.claim, to_be_run(made))


def check_ledger(config: DictConfig) -> None:
    """Raise ConfigError for a ledger that cannot be read: once, where every run would say it."""
    if OmegaConf.is_interpolation(config, "ledger") or not isinstance(config.get("ledger"), str):
        return  # each run has its own, or says what is wrong with it
    from posenc.report.reading import ledger  # pandas, which only this needs

    ledger.cached(Path(to_absolute_path(config.ledger)))


def from_ledger(config: DictConfig, root: Path, taken: Sequence[str]) -> Path:
    """Write the runs that the sweep found in its ledger to a table in its folder. Returns the path of the table."""
    from posenc.report.reading import ledger

    ledger.extract(Path(to_absolute_path(config.ledger)), taken, root / LEDGER_ROWS)
    return root / LEDGER_ROWS


def sources_of(root: Path, tables: Sequence[Path]) -> list[Path]:
    """The sources of a sweep's runs: its folder, if it contains results, and the tables of runs from the ledger."""
    return [root, *tables] if any(root.rglob(RESULT)) else [*tables]


def report(root: Path, sources: Sequence[Path]) -> None:
    """Write the report over all runs of the sweep, earlier commands included, and print its findings."""
    from posenc.report import write  # two seconds of imports, which the jobs do not need

    page, finding = write(sources, root, overview=any(root.rglob(f"{EVENTS}*")))
    say(str(finding))
    say(f"report      {page}")
