"""The section `answers`: the processor time of a whole sweep, and of a verdict between two encodings.

Every contestant is a command with one thread. Its time is the user and system time of the process and its children:
imports, set-up, training, tests, and posenc's report.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import track

from posenc.benchmark.clock import ProcessorClock
from posenc.benchmark.plain_loop import BATCH, ENCODINGS, LENGTH, LENGTHS, RIVALS, TASKS
from posenc.benchmark.sections import Row, Section, installed
from posenc.checks import ConfigError
from posenc.training.data import SequenceData

HOME = Path(__file__).resolve().parents[2]
"""The folder from which posenc is imported."""
SWEEP = (
    f"data.batch_size={BATCH}", f"dataset.length={LENGTH}", f"dataset.test_lengths={[*LENGTHS]}".replace(" ", ""),
    "threads=1", "trainer.accelerator=cpu", f"+callbacks.clock._target_={ProcessorClock.__module__}.ProcessorClock",
)  # fmt: skip
"""The options of all runs of posenc; the other options keep their defaults."""
VERDICT: list[str] = RIVALS["verdict"]
"""The two encodings that the verdict compares."""
VERDICT_TASK = "rel_pattern"
"""The task on which the verdict compares them."""


@dataclass(frozen=True)
class SweepSize:
    """The size of a sweep: every encoding on every task.

    steps      steps of each run
    seeds      the number of seeds of the verdict
    eval_size  upper limit of the sequences in a test set
    """

    encodings: Sequence[str] = tuple(ENCODINGS)
    tasks: Sequence[str] = tuple(TASKS)
    steps: int = 500
    seeds: int = 10
    eval_size: int = 10_000

    @property
    def stop(self) -> list[str]:
        """Options of early stopping that fit `steps`."""
        every, decay = max(1, self.steps // 20), max(1, self.steps // 5)
        return ["stop=solved", f"trainer.validate_every={every}", f"stop.decay_steps={decay}"]


def answers(sweep: SweepSize) -> Section:
    """Rows of a plain loop, of posenc's sweep with and without early stopping, and of a verdict."""
    section = Section(
        "answers", f"sweeps of {sweep.steps} steps on one thread; ratio: processor time of a run / the plain loop's"
    )
    section.notes.append("training s counts the steps alone. The plain loop reads every test set to its end.")
    cells, seeds = _words(sweep.encodings, sweep.tasks, range(1)), range(sweep.seeds)
    own = {
        "posenc": cells,
        "posenc, stop=solved": [*cells, *sweep.stop],
        f"posenc, stop=solved, verdict of {sweep.seeds} seeds": [*_words(VERDICT, [VERDICT_TASK], seeds), *sweep.stop],
    }
    finding = ""
    for name, words in track(own.items(), "answers", transient=True):
        row, finding = _posenc(name, [*words, f"trainer.max_steps={sweep.steps}", f"data.eval_size={sweep.eval_size}"])
        section.rows.append(row)
    section.notes.append(f"The verdict: {finding}")
    if not installed("x-transformers"):
        section.notes.append("x-transformers is not installed; type pip install -c constraints.txt -e '.[benchmark]'.")
        return section
    plain = _plain(sweep)
    section.rows.insert(0, plain)
    for row in section.rows[:-1]:  # the verdict trains other runs
        row["ratio"] = plain["runs_per_hour"] / row["runs_per_hour"]
    return section


def _words(encodings: Sequence[str], tasks: Sequence[str], seeds: Sequence[int]) -> list[str]:
    listed = {"encoding": encodings, "dataset": tasks, "seed": [*map(str, seeds)]}
    return [f"{key}={','.join(values)}" for key, values in listed.items()]


def _plain(sweep: SweepSize) -> Row:
    data = SequenceData(TASKS[VERDICT_TASK](), seed=0, eval_size=sweep.eval_size)
    request = {"encodings": sweep.encodings, "tasks": sweep.tasks, "steps": sweep.steps}
    request |= {"every": 250, "sizes": {length: data.size(length) for length in LENGTHS}}  # validate_every's default
    seconds, said = _command(["-m", "posenc.benchmark.plain_loop", json.dumps(request)])
    return _row("x-transformers, plain loop", len(sweep.encodings) * len(sweep.tasks), seconds, float(said))


def _posenc(name: str, words: Sequence[str]) -> tuple[Row, str]:
    """Run a sweep. Returns its row and the first sentence of its report."""
    with tempfile.TemporaryDirectory() as folder:
        seconds, said = _command(["-m", "posenc", "train", "-m", *words, *SWEEP, f"hydra.sweep.dir={folder}"])
        trained = [float(file.read_text()) for file in Path(folder).rglob(ProcessorClock.FILE)]
    before, _, _ = said.partition("\nreport ")
    return _row(name, len(trained), seconds, sum(trained)), before.rpartition("\n")[2]


def _row(name: str, runs: int, seconds: float, training: float) -> Row:
    row: Row = {"contestant": name, "runs": runs, "processor_s": seconds, "training_s": training}
    return row | {"runs_per_hour": 3600 * runs / seconds, "training_share": training / seconds}


def _command(words: Sequence[str]) -> tuple[float, str]:
    """Run Python with the arguments `words`. Returns its processor seconds and its output."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    given = os.environ | {"OMP_NUM_THREADS": "1"}
    ended = subprocess.run([sys.executable, *words], env=given, cwd=HOME, stdout=subprocess.PIPE, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode:
        raise ConfigError(f"benchmark: python {' '.join(words)} ended with status {ended.returncode}.")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, ended.stdout
