"""Trainability: success of short trainings by depth and learning rate."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from posenc import checks
from posenc.figures.marks import colourbar, heat
from posenc.statistics import SOLVED
from posenc.statistics.measurements import Measurements
from posenc.studies.method.base import Arm, answering, check_arms
from posenc.studies.method.curves import plain
from posenc.studies.method.trained import Recipe, Row, fit
from posenc.studies.method.workers import Workers
from posenc.tasks.base import Task


@dataclass(eq=False)
class Trainability:
    """Success by learning rate, depth and arm. Arms are named "<arm> lr <rate>"; `at` is the depth.

        success    1 if skill on the test set is at least .9 after `recipe.steps` steps, otherwise 0
        skill      skill on the test set; 0 if the training diverged
        diverged   1 if the loss became NaN or infinite, otherwise 0
        chosen_lr  log10 of the best learning rate of a depth, for "<arm>"

    "<arm> best lr" has the success at the best rate of each depth: the rate with most successes, then with the highest
    mean skill. `choosing_seeds` further seeds choose it, because the best rate on the tested seeds would be biased.
    Gradients are clipped at norm 1, as in every run.
    """

    arms: Mapping[str, Arm]
    task: Task
    recipe: Recipe
    rates: Sequence[float]
    depths: Sequence[int]
    seeds: int
    choosing_seeds: int
    dim: int
    num_heads: int

    def __post_init__(self) -> None:
        """Check the options."""
        checks.positive(self, seeds=self.seeds, choosing_seeds=self.choosing_seeds)
        for rate in self.rates:
            checks.number(self, low=0, open_low=True, rates=rate)
        for depth in self.depths:
            checks.positive(self, depths=depth)
        self.arms, self.rates, self.depths = dict(self.arms), sorted(self.rates), sorted(self.depths)
        self.options = answering(self.task, dim=self.dim, num_heads=self.num_heads)
        check_arms(self.arms, **self.options)

    def measure(self, found: Measurements, seed: int, workers: Workers) -> None:
        """Train every cell. The deepest models come first, because they take longest."""
        tested = range(seed, seed + self.seeds)
        choosing = range(tested.stop, tested.stop + self.choosing_seeds)
        found.extend(self._trained(tested, workers, "trainings"))
        others = Measurements()
        others.extend(self._trained(choosing, workers, "trainings that choose the learning rate"))
        for name, depth in product(self.arms, self.depths):
            rate = max(self.rates, key=partial(self._merit, others, name, depth))
            found.add("chosen_lr", name, depth, seed, math.log10(rate))
            for each, value in found.sample("success", cell(name, rate), depth).items():
                found.add("success", f"{name} best lr", depth, each, value)

    def _trained(self, seeds: range, workers: Workers, title: str) -> list[Row]:
        cases = list(product(self.depths[::-1], seeds, self.arms, self.rates))
        return sorted(workers.spread(self.train, cases, title))

    def _merit(self, found: Measurements, name: str, depth: int, rate: float) -> tuple[float, float]:
        """The number of successes, and the sum of skills, at one learning rate."""
        successes, skills = (found.sample(q, cell(name, rate), depth).values() for q in ("success", "skill"))
        return sum(successes), sum(skills)

    def train(self, case: tuple[int, int, str, float]) -> list[Row]:
        """Train one arm at one depth and learning rate."""
        depth, seed, name, rate = case
        encoder = self.arms[name].build(seed, **(self.options | {"num_layers": depth})).float()
        trained = fit(encoder, self.task, seed, self.recipe, lr=rate)
        skill, arm = trained.skills[self.task.length[1]], cell(name, rate)
        return [
            ("skill", arm, depth, seed, skill),
            ("success", arm, depth, seed, float(skill >= SOLVED)),
            ("diverged", arm, depth, seed, float(trained.diverged)),
        ]

    def rows(self, found: Measurements) -> Iterator[tuple[str, list[str]]]:
        """(arm with learning rate, successes at each depth), as rows of a table in the terminal."""
        for name, rate in product(self.arms, self.rates):
            samples = [found.sample("success", cell(name, rate), depth).values() for depth in self.depths]
            yield cell(name, rate), [f"{sum(sample):.0f}/{len(sample)}" for sample in samples]

    def draw(self, figure: SubFigure, found: Measurements) -> None:
        """One heat map for each arm, with the mean skill and the number of successful seeds."""
        axes = figure.subplots(1, len(self.arms), squeeze=False)[0]
        image = None
        for axis, name in zip(axes, self.arms, strict=True):
            image = self._map(axis, found, name)
        assert image is not None
        axes[0].set_ylabel("peak learning rate")
        colourbar(image, list(axes), f"mean skill after {self.recipe.steps} steps")

    def _map(self, axis: Axes, found: Measurements, name: str) -> Any:
        samples = [[found.sample("skill", cell(name, rate), d).values() for d in self.depths] for rate in self.rates]
        mean = np.array([[np.mean([*sample]) for sample in row] for row in samples])
        image = heat(axis, mean, 0, 1, origin="lower", aspect="auto")
        for i, j in np.ndindex(*mean.shape):
            won = sum(value >= SOLVED for value in samples[i][j])
            text = f"{won}/{len(samples[i][j])}"
            axis.text(j, i, text, ha="center", va="center", color="black" if mean[i, j] > 0.6 else "white")
        axis.set_xticks(range(len(self.depths)), [str(depth) for depth in self.depths])
        axis.set_yticks(range(len(self.rates)), [f"{rate:g}" for rate in self.rates])
        axis.set_xlabel("depth")
        axis.set_title(f"{plain(name)}: seeds with skill ≥ {SOLVED:g}")
        return image


def cell(arm: str, rate: float) -> str:
    """The name of an arm at a learning rate in the table."""
    return f"{arm} lr {rate:g}"
