"""Locality: the number of examples that an encoder needs to learn which tokens are neighbours."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from posenc import checks, terminal
from posenc.diagnostics import attention_distance, capture, uniform_distance
from posenc.figures.marks import dress, level, name_lines, sheet
from posenc.figures.style import INK, SHADE, tones
from posenc.statistics import SOLVED
from posenc.statistics.claims import Verdict
from posenc.statistics.measurements import Measurements
from posenc.streams import generator
from posenc.studies.method.base import Study, answering, check_arms
from posenc.studies.method.curves import curves, label, plain
from posenc.studies.method.trained import Recipe, Row, fit
from posenc.tasks.places import RelativePattern

MARKS = "o>s^"
"""The marker of each reach."""


@dataclass(eq=False)
class Locality(Study):
    """Skill against the size N of the training set, for patterns of reach r, encodings and two other mixers.

    The task is `rel_pattern` (posenc.tasks.places.RelativePattern) with the four offsets ±r and ±(r + 1). Its label is
    the offset between two marked tokens; absolute positions do not help. An arm trains on N fixed sequences, and is
    tested on new ones. The number of steps does not depend on N, so that only the data differ. Arms are named
    "<arm> r=<r>":

        skill      on the test set, `at` log2 N
        n90        log2 of the N at which skill reaches .9, interpolated linearly; `at` 0. It is 1 + log2 of the largest
                   N if skill never reaches .9. If one seed reaches .9 at the smallest N, the arm has no n90, because a
                   smaller N was not tried
        area       mean skill over log2 N (trapezoid), `at` 0
        distance   mean attention distance of the most local head of all layers at the largest N, as a share of that of
                   uniform attention, `at` 0

    reaches   the values of r
    sizes     the values of N
    """

    dim: int
    num_heads: int
    layers: int
    length: int
    recipe: Recipe
    reaches: Sequence[int]
    sizes: Sequence[int]

    def __post_init__(self) -> None:
        """Check the options."""
        super().__post_init__()
        checks.positive(self, layers=self.layers, length=self.length)
        for reach in self.reaches:
            checks.positive(self, reaches=reach)
        for size in self.sizes:
            checks.positive(self, sizes=size)
        self.reaches, self.sizes = sorted(self.reaches), sorted(self.sizes)
        N = self.length
        self.tasks = {
            r: RelativePattern(length=N, test_lengths=[N], offsets=[-r - 1, -r, r, r + 1]) for r in self.reaches
        }
        task = self.tasks[self.reaches[0]]
        self.options = answering(task, dim=self.dim, num_heads=self.num_heads, num_layers=self.layers)
        check_arms(self.arms, **self.options)

    def measure(self, seed: int) -> Measurements:
        """Train every arm, then compute `area` and `n90`."""
        found = Measurements()
        cases = list(product(range(seed, seed + self.seeds), self.reaches, self.arms, self.sizes))
        found.extend(sorted(self.workers.spread(self.train, cases, "trainings")))
        for reach, name in product(self.reaches, self.arms):
            arm = arm_at(name, reach)
            skills = found.frame("skill", arm)
            logs = skills.index.to_numpy()
            by_seed = {each: skills[each].to_numpy() for each in range(seed, seed + self.seeds)}
            for each, curve in by_seed.items():
                found.add("area", arm, 0, each, float(np.trapezoid(curve, logs) / np.ptp(logs)))
            sizes = [(each, log2_size(logs, curve)) for each, curve in by_seed.items()]
            known = [("n90", arm, 0, each, size) for each, size in sizes if size is not None]
            found.extend(known if len(known) == len(sizes) else ())
        return found

    def train(self, case: tuple[int, int, str, int]) -> list[Row]:
        """Train one arm at one reach on one size."""
        seed, reach, name, size = case
        task, arm = self.tasks[reach], arm_at(name, reach)
        trained = fit(self.arms[name].build(seed, **self.options).float(), task, seed, self.recipe, train_size=size)
        length = task.length[1]
        rows: list[Row] = [("skill", arm, math.log2(size), seed, trained.skills[length])]
        if size == self.sizes[-1]:
            tokens, _ = task.sample(generator(seed, "study/probe"), 128, length)
            with torch.no_grad(), capture(trained.module.encoder) as seen:
                trained.module(tokens)
            heads = [attention_distance(record.weights).min() for record in seen.attention]
            if heads:
                rows.append(("distance", arm, 0, seed, float(min(heads)) / uniform_distance(length)))
        return rows

    def summary(self, found: Measurements) -> dict[str, Any]:
        """Mean log2 N₉₀ of each arm and reach."""
        return {arm: found.mean("n90", arm, 0) for arm in found.arms("n90")}

    def tables(self, found: Measurements) -> Iterator[Table]:
        """One row for each arm and reach."""
        heads = *(f"N {size}" for size in self.sizes), "N90", "distance"
        table = terminal.table("Skill by size of the training set", "arm", *heads)
        local = found.arms("distance")
        known = found.arms("n90")
        for arm in found.arms("area"):
            skills = (f"{found.mean('skill', arm, at):.2f}" for at in found.along("skill", arm))
            n90 = found.mean("n90", arm, 0) if arm in known else -math.inf
            shown = f"{2**n90:.0f}" if n90 <= math.log2(self.sizes[-1]) else f"> {self.sizes[-1]}"
            shown = shown if arm in known else f"≤ {self.sizes[0]}"
            distance = f"{found.mean('distance', arm, 0):.2f}" if arm in local else "–"
            table.add_row(plain(arm), *skills, shown, distance)
        table.caption = "distance: mean attention distance of the most local head, 1 for uniform attention"
        yield table

    def headline(self, axis: Axes, found: Measurements) -> None:
        """Skill against the size of the training set at the smallest reach."""
        curves(axis, found, "skill", {name: arm_at(name, self.reaches[0]) for name in self.arms})
        axis.set_xticks(np.log2(self.sizes), [f"{size:,}" for size in self.sizes])
        label(axis, "training sequences", f"skill, offsets ±{self.reaches[0]} and ±{self.reaches[0] + 1}")

    def figure(self, found: Measurements, verdicts: Sequence[Verdict]) -> Figure:
        """Dots are seeds and lines their means; the last panel has N90 of each arm at each reach."""
        figure, (*panels, needed) = sheet(len(self.reaches) + 1, 2, 2.9)
        colours, logs = tones(self.arms), np.log2(self.sizes)
        for axis, reach in zip(panels, self.reaches, strict=True):
            for arm in self.arms:
                rows = found.frame("skill", arm_at(arm, reach))
                axis.plot(logs, rows, "o", ms=2.6, mew=0, color=colours[arm], alpha=0.5)
                axis.plot(logs, rows.mean(axis=1), color=colours[arm], lw=1.7, label=plain(arm))
            level(axis, (0, SOLVED))
            axis.set_xticks(logs, [f"{size:,}" for size in self.sizes])
            axis.set_ylim(-0.15, 1.08)
            dress(axis, f"offsets ±{reach} and ±{reach + 1}", "training sequences", "skill on fresh sequences")
            name_lines(axis)
        known = found.arms("n90")
        for j, reach in enumerate(self.reaches):
            mark = MARKS[j % len(MARKS)]
            for i, arm in enumerate(self.arms):
                if arm_at(arm, reach) in known:
                    sample = [*found.sample("n90", arm_at(arm, reach), 0).values()]
                    height = i + (j - (len(self.reaches) - 1) / 2) * 0.26
                    needed.plot(sample, [height] * len(sample), "o", ms=3.5, color=colours[arm], alpha=0.5)
                    needed.plot(np.mean(sample), height, marker=mark, ms=8, color=colours[arm], mec="white")
            needed.plot([], [], marker=mark, ls="", color=INK, label=f"r = {reach}, mean of the seeds")
        never = logs[-1] + 1
        needed.axvspan(never - 0.25, never + 0.25, color=SHADE, zorder=0)
        needed.set_xticks([*logs, never], [*(f"{size:,}" for size in self.sizes), "more"])
        needed.set_yticks(range(len(self.arms)), [plain(arm) for arm in self.arms])
        needed.invert_yaxis()
        needed.legend(loc="center left", bbox_to_anchor=(1.25, 0.5)).set_in_layout(False)  # in the empty panel
        dress(needed, "", "training sequences needed for a skill of .9")
        return figure


def arm_at(name: str, reach: int) -> str:
    """The name of an arm at a reach in the table."""
    return f"{name} r={reach}"


def log2_size(logs: np.ndarray, skills: np.ndarray) -> float | None:
    """log2 of the size at which skill first reaches .9, or None if it is the smallest size; see Locality."""
    above = np.flatnonzero(skills >= SOLVED)
    if not above.size:
        return float(logs[-1] + 1)
    first = int(above[0])
    if first == 0:
        return None
    (x0, x1), (y0, y1) = logs[first - 1 : first + 1], skills[first - 1 : first + 1]
    return float(x0 + (x1 - x0) * (SOLVED - y0) / (y1 - y0))
