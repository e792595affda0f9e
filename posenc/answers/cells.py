"""The cells of a ledger: the results of one encoding on one data set, for each seed."""

import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from posenc import statistics
from posenc.checks import ConfigError
from posenc.report.reading import ledger
from posenc.report.reading.read import Run
from posenc.report.words import listing
from posenc.statistics import Interval
from posenc.terminal import TRAIN, count

CHOOSING_SEED = 100
"""Runs with this seed are used only to choose the learning rates (docs/answers/design.md)."""
OWN = ("dataset=", "encoding=", "seed=", "experiment=")
"""Words of a run that each command of a cell has."""
MODEL = ("encoding.", "model.", "positions")
"""The beginnings of the typed words that make another encoding or model out of the same name."""
Values = Mapping[int, float]


@dataclass(frozen=True)
class Cell:
    """The runs of one encoding on one data set. They differ only in their seeds.

    Lengths are multiples: 4 means four times the longest trained length. A run that diverged or failed has skill 0 and
    has not solved its task.
    """

    dataset: str
    encoding: str
    runs: Mapping[int, Run]

    @property
    def budget(self) -> int:
        """The steps after which a run that has not solved its task is censored."""
        return int(self.settings["trainer.max_steps"])

    @property
    def rate(self) -> float:
        """The learning rate."""
        return float(self.settings["optimizer.lr"])

    @property
    def parameters(self) -> float | None:
        """The number of parameters of the encoding."""
        return self._any.measured("encoding_parameters")

    @property
    def trained(self) -> int:
        """The longest trained length."""
        found = self._any.trained
        assert found is not None  # `cells` has checked it
        return found[1]

    @property
    def times(self) -> list[int]:
        """The test lengths, as multiples of the longest trained length."""
        lengths = {n for run in self.runs.values() for n in run.test}
        return sorted(n // self.trained for n in lengths if n % self.trained == 0)

    def skill(self, times: int, within: int | None = None) -> dict[int, float]:
        """The skill of each seed. It is 0 for a run that had not solved its task after `within` steps."""
        found: dict[int, float] = {}
        for seed, run in self.runs.items():
            score = run.test.get(times * self.trained, {}).get("skill")
            late = within is not None and (self.steps(run) > within or not self.solved[seed])
            if run.status != "completed" or late:
                found[seed] = 0.0
            elif score is not None:
                found[seed] = score
        return found

    @property
    def solved(self) -> dict[int, bool]:
        """Whether each seed solved its task within the budget."""
        return {seed: run.result.get("stopped") is not None for seed, run in self.runs.items()}

    @property
    def success(self) -> Interval:
        """The share of seeds that solved the task."""
        return statistics.success_rate([float(solved) for solved in self.solved.values()], 0.5)

    def steps(self, run: Run) -> float:
        """The steps until the run had solved its task; the budget, if it did not solve it."""
        stopped = run.result.get("stopped")
        return float(self.budget) if stopped is None else float(stopped)

    @property
    def mean_steps(self) -> float:
        """The mean of `steps` over the runs, where a censored run counts as the budget."""
        return fmean(self.steps(run) for run in self.runs.values())

    @property
    def words(self) -> tuple[str, ...]:
        """What was typed for its runs beside data set, encoding and seed, such as encoding.base=500000."""
        typed = shlex.split(str(self.runs[min(self.runs)].result.get("command") or "").removeprefix(TRAIN))
        return tuple(shlex.quote(word) for word in typed if not word.startswith(OWN))

    @property
    def options(self) -> tuple[str, ...]:
        """The typed words that any data set needs for the same encoding and model."""
        return tuple(word for word in self.words if word.strip("'").startswith(MODEL))

    @property
    def _any(self) -> Run:
        return next(iter(self.runs.values()))

    @property
    def settings(self) -> dict[str, Any]:
        """The config of all its runs without the seed: {name: value}."""
        return self._any.settings


def cells(path: Path) -> list[Cell]:
    """The cells of a ledger, by data set and encoding.

    Raises ConfigError if the ledger cannot be read, if it has no run that counts, or if runs of one cell differ in more
    than their seed, because such runs cannot be averaged.
    """
    found, mixed = sorted_out(path)
    for error in mixed.values():
        raise error
    return found


def choosing(path: Path) -> list[Run]:
    """The runs of a ledger that only choose learning rates."""
    return [run for run in ledger.cached(path).values() if run.seed == CHOOSING_SEED]


def sorted_out(path: Path, causal: bool | None = None) -> tuple[list[Cell], dict[tuple[str, str], ConfigError]]:
    """The cells of a ledger, and an error for each (data set, encoding) whose runs differ in more than their seed.

    causal  only runs of causal models, or only of others; None: all
    """
    groups: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in ledger.cached(path).values():
        fits = causal is None or bool(run.settings["model.causal"]) == causal
        if run.seed != CHOOSING_SEED and run.trained is not None and fits:
            groups[run.dataset, run.encoding].append(run)
    if not groups and causal is None:
        raise ConfigError(
            f"{path} has no run that counts: seed {CHOOSING_SEED} only chooses learning rates; add runs of other seeds."
        )
    found, mixed = list[Cell](), dict[tuple[str, str], ConfigError]()
    for key, runs in sorted(groups.items()):
        try:
            found.append(_cell(path, *key, runs))
        except ConfigError as error:
            mixed[key] = error
    return found, mixed


def _cell(path: Path, dataset: str, encoding: str, runs: list[Run]) -> Cell:
    first = runs[0].settings
    for run in runs[1:]:
        if differ := [key for key in first | run.settings if first.get(key) != run.settings.get(key)]:
            values = listing([str(settings.get(differ[0])) for settings in (first, run.settings)])
            raise ConfigError(
                f"{path}: runs of {encoding} on {dataset} differ in {differ[0]} ({values}), so their seeds cannot be "
                "averaged; put them into separate ledgers."
            )
    return Cell(dataset, encoding, {run.seed: run for run in sorted(runs, key=lambda run: run.seed)})


def seeds(found: Iterable[Cell]) -> str:
    """How many seeds the cells have: "10 seeds", or "3 to 10 seeds"."""
    numbers = sorted({len(cell.runs) for cell in found})
    return count(numbers[0], "seed") if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]} seeds"


def of(found: Iterable[Cell], dataset: str) -> Iterator[Cell]:
    """The cells of one data set."""
    return (cell for cell in found if cell.dataset == dataset)
