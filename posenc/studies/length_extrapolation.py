"""Length extrapolation: what is left of skill past the training length, and what becomes of attention there."""

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
from posenc.attention.record import LayerRecord
from posenc.checks import ConfigError
from posenc.diagnostics import capture, head_similarity, sink_rate, target_mass
from posenc.figures.marks import dress, sheet
from posenc.figures.style import INK, SHADE, tones
from posenc.statistics.claims import Verdict
from posenc.statistics.length import summarise
from posenc.statistics.measurements import Measurements
from posenc.studies.method.base import Study, answering, check_arms
from posenc.studies.method.curves import STYLES, curves, label, plain
from posenc.studies.method.trained import Recipe, Row, fit
from posenc.tasks.base import Task
from posenc.training.evaluation.sets import evaluation_set
from posenc.training.module import SequenceModule

PROBES = 128
"""Sequences over which attention is averaged."""


@dataclass(eq=False)
class LengthExtrapolation(Study):
    """Skill and attention at multiples of the training length, for each encoding under each placement of the norm.

    An arm of the table is "<arm> <norm>"; `at` is k = test length / training length unless it is said otherwise. No row
    where an encoding is not defined.

        skill            on the test set
        aulc, k50        of that curve, `at` 0 (posenc.statistics.length); k50 is the largest k where skill stays
                         above one half, and 0 where it starts below
        target_mass      attention of the asking query on the key that holds the answer, of the best head of all layers
        head_similarity, sink_rate, layer_target_mass   of each layer (mean of heads; best head), `at` layer + k/100;
                         layers are counted from 1
    """

    norms: Sequence[str]
    dim: int
    num_heads: int
    layers: int
    task: Task
    recipe: Recipe

    def __post_init__(self) -> None:
        """Check the options."""
        super().__post_init__()
        checks.positive(self, layers=self.layers)
        task = self.task
        if task.sources(task.sample(torch.Generator(), 1, task.length[1])[0]) is None:
            raise ConfigError(f"LengthExtrapolation: {task} has no one place that answers; use dataset=induction.")
        self.norms = [*self.norms]
        self.multiples = [length / task.length[1] for length in task.test_lengths]
        self.options = answering(task, dim=self.dim, num_heads=self.num_heads, num_layers=self.layers)
        check_arms(self.arms, **self.options)

    @property
    def names(self) -> list[str]:
        """The arms of the table."""
        return [f"{name} {norm}" for name, norm in product(self.arms, self.norms)]

    def measure(self, seed: int) -> Measurements:
        """All trainings."""
        found = Measurements()
        cases = list(product(range(seed, seed + self.seeds), self.arms, self.norms))
        found.extend(sorted(self.workers.spread(self.train, cases, "trainings")))
        return found

    def train(self, case: tuple[int, str, str]) -> list[Row]:
        """Train one arm and look at it at every length."""
        seed, name, norm = case
        encoder = self.arms[name].build(seed, **(self.options | {"norm": norm})).float()
        trained = fit(encoder, self.task, seed, self.recipe)
        longest, arm = self.task.length[1], f"{name} {norm}"
        rows: list[Row] = [("skill", arm, n / longest, seed, value) for n, value in trained.skills.items()]
        summary = summarise(longest, trained.skills)
        tested_to, start = summary["tested_to"] or 1.0, trained.skills[longest]
        half = summary["k50"] if summary["k50"] is not None else (tested_to if start > 0.5 else 0.0)
        rows += [("aulc", arm, 0, seed, summary["aulc"] or 0.0), ("k50", arm, 0, seed, half)]
        if not trained.diverged:
            for length in trained.skills:
                rows += self._attention(trained.module, arm, seed, length)
        return rows

    def _attention(self, module: SequenceModule, arm: str, seed: int, length: int) -> Iterator[Row]:
        """What attention does at one length."""
        tokens, _ = evaluation_set(self.task, "test", length, PROBES)
        with torch.no_grad(), capture(module.encoder) as seen:
            module(tokens)
        k, sources = length / self.task.length[1], self.task.sources(tokens)
        assert sources is not None
        masses = [float(target_mass(record.weights, sources).max()) for record in seen.attention]
        yield "target_mass", arm, k, seed, max(masses)
        for layer, (record, mass) in enumerate(zip(seen.attention, masses, strict=True), 1):
            place = layer + k / 100
            yield "layer_target_mass", arm, place, seed, mass
            yield "sink_rate", arm, place, seed, float(sink_rate(record.weights).mean())
            yield "head_similarity", arm, place, seed, _between_heads(record)

    def summary(self, found: Measurements) -> dict[str, Any]:
        """Mean AULC and k50 of each arm."""
        return {arm: {name: found.mean(name, arm, 0) for name in ("aulc", "k50")} for arm in self.names}

    def tables(self, found: Measurements) -> Iterator[Table]:
        """One row an arm."""
        title = f"Skill on {self.task} at multiples of the training length {self.task.length[1]}"
        last = f"{self.multiples[-1]:g}×"
        heads = *(f"{k:g}×" for k in self.multiples), "AULC", "k50", "target 1×", f"target {last}"
        table = terminal.table(title, "arm, norm", *heads)
        for arm, row in self.summary(found).items():
            skills = [_shown(found, "skill", arm, k) for k in self.multiples]
            masses = [_shown(found, "target_mass", arm, k) for k in (1.0, self.multiples[-1])]
            table.add_row(plain(arm), *skills, f"{row['aulc']:.2f}", f"{row['k50']:.1f}", *masses)
        table.caption = "target: attention on the key that holds the answer, best head of all layers"
        yield table

    def headline(self, axis: Axes, found: Measurements) -> None:
        """Skill against length of each encoding, under the first placement of the norm."""
        curves(axis, found, "skill", {name: f"{name} {self.norms[0]}" for name in self.arms})
        axis.set_xscale("log", base=2)
        axis.set_xticks(self.multiples, [f"{k:g}×" for k in self.multiples])
        axis.minorticks_off()
        label(axis, "length, in training lengths", "skill")

    def figure(self, found: Measurements, verdicts: Sequence[Verdict]) -> Figure:
        """Colour is the encoding, line style the norm; every seed a dot beside the line through the means."""
        figure, (skill, target, similarity, sink) = sheet(4, 2, 2.8)
        colours, styles = tones(self.arms), dict(zip(self.norms, STYLES, strict=False))
        for axis, quantity, title in (
            (skill, "skill", "skill"),
            (target, "target_mass", "attention on the answer's key"),
        ):
            for arm, norm in product(self.arms, styles):
                rows = found.frame(quantity, f"{arm} {norm}")
                axis.plot(np.log2(rows.index), rows, "o", ms=2.5, color=colours[arm], alpha=0.4)
                axis.plot(np.log2(rows.index), rows.mean(axis=1), color=colours[arm], ls=styles[norm], lw=1.7)
            axis.axvspan(-0.12, 0, color=SHADE, zorder=0)
            axis.set_xlim(-0.12, np.log2(self.multiples[-1]) + 0.1)
            axis.set_xticks(np.log2(self.multiples), [f"{k:g}×" for k in self.multiples])
            axis.set_ylim(-0.08 if quantity == "skill" else -0.02, 1.06)
            dress(axis, f"{title}; trained length shaded", "length, in training lengths", title)
        lines = [skill.plot([], [], color=colour, lw=2, label=plain(arm))[0] for arm, colour in colours.items()]
        lines += [skill.plot([], [], color=INK, ls=style, label=f"{norm}-norm")[0] for norm, style in styles.items()]
        skill.legend(handles=lines, ncols=2, loc="upper right")
        for axis, quantity, title in (
            (similarity, "head_similarity", "cosine of two heads"),
            (sink, "sink_rate", "share of heads with a sink"),
        ):
            for arm, norm in product(self.arms, styles):
                mean = found.frame(quantity, f"{arm} {norm}").mean(axis=1)
                near = mean.loc[[round(float(at) % 1, 6) == 0.01 for at in mean.index]]  # k = 1
                look = {"marker": "o", "ms": 2.5, "lw": 1.6}
                axis.plot(range(1, len(near) + 1), near, color=colours[arm], ls=styles[norm], **look)
            axis.set_xticks(range(1, self.layers + 1))
            axis.set_ylim(-0.02, 1.06)
            dress(axis, f"{title}, at the trained length", "layer", title)
        return figure


def _between_heads(record: LayerRecord) -> float:
    """Mean cosine of the attention of two different heads; 1 where there is one head."""
    similarity = head_similarity(record.weights)
    H = len(similarity)
    return float((similarity.sum() - similarity.trace()) / (H * (H - 1))) if H > 1 else 1.0


def _shown(found: Measurements, quantity: str, arm: str, k: float) -> str:
    return f"{found.mean(quantity, arm, k):.2f}" if k in found.along(quantity, arm) else "–"
