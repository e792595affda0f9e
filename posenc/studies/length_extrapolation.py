"""Length extrapolation: skill and attention beyond the trained length."""

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
"""The number of sequences over which attention is averaged."""


@dataclass(eq=False)
class LengthExtrapolation(Study):
    """Skill and attention at multiples of the trained length, for each encoding with each placement of the norm.

    Arms are named "<arm> <norm>"; `at` is k = test length / trained length, unless stated otherwise. Lengths at which
    an encoding is undefined have no row.

        skill            on the test set
        aulc, k50        of the skill, `at` 0 (posenc.statistics.length); k50 is the largest k up to which skill stays
                         above one half, or 0 if it starts below
        target_mass      attention of the query on the key with the answer, in the best head of all layers
        head_similarity, sink_rate   means over the heads of a layer, `at` layer (from 1) + k/100
        layer_target_mass            target_mass of the layer's best head, `at` layer + k/100
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
            raise ConfigError(f"LengthExtrapolation: {task} has no single key with the answer; use dataset=induction.")
        self.norms = [*self.norms]
        self.multiples = [length / task.length[1] for length in task.test_lengths]
        self.options = answering(task, dim=self.dim, num_heads=self.num_heads, num_layers=self.layers)
        check_arms(self.arms, **self.options)

    @property
    def names(self) -> list[str]:
        """The names of the arms in the table."""
        return [f"{name} {norm}" for name, norm in product(self.arms, self.norms)]

    def measure(self, seed: int) -> Measurements:
        """Train every arm with every seed."""
        found = Measurements()
        cases = list(product(range(seed, seed + self.seeds), self.arms, self.norms))
        found.extend(sorted(self.workers.spread(self.train, cases, "trainings")))
        return found

    def train(self, case: tuple[int, str, str]) -> list[Row]:
        """Train one arm, and measure it at every length."""
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
        """The rows about attention at one length."""
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
        """One row for each arm."""
        title = f"Skill on {self.task} at multiples of the trained length {self.task.length[1]}"
        last = f"{self.multiples[-1]:g}×"
        heads = *(f"{k:g}×" for k in self.multiples), "AULC", "k50", "target 1×", f"target {last}"
        table = terminal.table(title, "arm, norm", *heads)
        for arm, row in self.summary(found).items():
            skills = [_shown(found, "skill", arm, k) for k in self.multiples]
            masses = [_shown(found, "target_mass", arm, k) for k in (1.0, self.multiples[-1])]
            table.add_row(plain(arm), *skills, f"{row['aulc']:.2f}", f"{row['k50']:.1f}", *masses)
        table.caption = "target: attention on the key with the answer, in the best head of all layers"
        yield table

    def headline(self, axis: Axes, found: Measurements) -> None:
        """Skill of each encoding against length, for the first placement of the norm."""
        curves(axis, found, "skill", {name: f"{name} {self.norms[0]}" for name in self.arms})
        axis.set_xscale("log", base=2)
        axis.set_xticks(self.multiples, [f"{k:g}×" for k in self.multiples])
        axis.minorticks_off()
        label(axis, "length, in trained lengths", "skill")

    def figure(self, found: Measurements, verdicts: Sequence[Verdict]) -> Figure:
        """Colours are encodings and line styles norms; dots are seeds and lines their means."""
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
            dress(axis, f"{title}; trained length shaded", "length, in trained lengths", title)
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
    """The mean cosine between the attention of two different heads; 1 if there is one head."""
    similarity = head_similarity(record.weights)
    H = len(similarity)
    return float((similarity.sum() - similarity.trace()) / (H * (H - 1))) if H > 1 else 1.0


def _shown(found: Measurements, quantity: str, arm: str, k: float) -> str:
    return f"{found.mean(quantity, arm, k):.2f}" if k in found.along(quantity, arm) else "–"
