"""Position fading: the share of position in the residual stream by layer, and the layers that use it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product, takewhile
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from posenc import checks, terminal
from posenc.diagnostics import capture, linear_probe, position_share, uniform_distance
from posenc.diagnostics.position_mean import without_position_mean
from posenc.figures.marks import dress, level, name_lines, sheet
from posenc.figures.style import INK, tones
from posenc.model.encoder import Encoder
from posenc.statistics.claims import Verdict
from posenc.statistics.measurements import Measurements
from posenc.streams import generator
from posenc.studies.method.base import Arm, Study, answering, check_arms, draw_tokens
from posenc.studies.method.curves import STYLES, band, curves, label, plain
from posenc.studies.method.trained import Recipe, Row, fit, skill_now
from posenc.tasks.base import Task

SHARES = ("position", "token", "sequence", "residual")


@dataclass(eq=False)
class PositionFading(Study):
    """Shares of the residual stream's variance, position probes, and the use of position, by layer.

    Before training, every arm has `layers` layers in float64 and reads uniform independent tokens. `at` is the layer; 0
    is the input of the first block:

        position, token, sequence, residual   shares of variance, ω² (posenc.diagnostics.position_share)
        probe   mean distance between a linear probe's answer and the true position, divided by that of a guess
        fade    slope of log10(position share / token share) over the layers, `at` 0; below 0, position fades faster
                than token identity. The slope ends before the first layer in which a share is below the correction
                for chance that ω² subtracts, (K − 1)/(BN) for K groups. With fewer than three layers there is no
                slope; if this happens to one seed, the arm has no fade, and a claim about it is INVALID

    The arms of `trained` are trained on `task` at each of `depths`:

        skill   on the test set
        used    skill lost if h_l loses the mean of each position (posenc.diagnostics.position_mean)
        trained_position, trained_token, trained_probe   as above, on the task's sequences

    `skill` has the arm "<arm>", `at` the depth L; the others have "<arm> depth <L>", `at` l / L.
    """

    dim: int
    num_heads: int
    layers: int
    length: int
    batch: int
    vocab_size: int
    task: Task
    recipe: Recipe
    trained: Mapping[str, Arm]
    depths: Sequence[int]
    trained_dim: int
    trained_seeds: int

    def __post_init__(self) -> None:
        """Check the options."""
        super().__post_init__()
        checks.positive(self, layers=self.layers, length=self.length, vocab_size=self.vocab_size)
        checks.positive(self, trained_seeds=self.trained_seeds)
        checks.positive(self, minimum=4, batch=self.batch)
        for depth in self.depths:
            checks.positive(self, depths=depth)
        self.trained, self.depths = dict(self.trained), sorted(self.depths)
        self.options: dict[str, Any] = {
            "vocab_size": self.vocab_size, "num_outputs": 1, "dim": self.dim, "num_heads": self.num_heads
        }  # fmt: skip
        self.trained_options = answering(self.task, dim=self.trained_dim, num_heads=self.num_heads)
        check_arms(self.arms, **self.options)
        check_arms(self.trained, **self.trained_options)

    def measure(self, seed: int) -> Measurements:
        """Measure all arms before training, then train. The deepest models come first, because they take longest."""
        found = Measurements()
        starts = list(product(self.arms, range(seed, seed + self.seeds)))
        trainings = list(product(self.depths[::-1], range(seed, seed + self.trained_seeds), self.trained))
        rows = self.workers.spread(self.start, starts, "at the start")
        rows += self.workers.spread(self.train, trainings, "trainings")
        fades = Counter(arm for quantity, arm, *_ in rows if quantity == "fade")
        lost = {("fade", arm) for arm, seeds in fades.items() if seeds < self.seeds}  # a mean of the others is biased
        found.extend(sorted(row for row in rows if row[:2] not in lost))
        return found

    @torch.no_grad()
    def start(self, case: tuple[str, int]) -> list[Row]:
        """The rows of one arm and seed before training."""
        name, seed = case
        encoder = self.arms[name].build(seed, **(self.options | {"num_layers": self.layers}))
        tokens = draw_tokens(seed, self.batch, self.length, self.vocab_size)
        rows: list[Row] = []
        by_layer = []
        for layer, shares, distance in self._layers(encoder, tokens):
            rows += [(share, name, layer, seed, value) for share, value in shares.items()]
            rows.append(("probe", name, layer, seed, distance))
            by_layer.append((shares["position"], shares["token"]))
        chance = (self.length - 1) / tokens.numel(), (self.vocab_size - 1) / tokens.numel()
        slope = fade(by_layer, chance)
        return rows if slope is None else [*rows, ("fade", name, 0, seed, slope)]

    def _layers(self, encoder: Encoder, tokens: torch.Tensor) -> Iterator[tuple[int, dict[str, float], float]]:
        """(layer, shares, relative distance of the probe) of every layer."""
        with torch.no_grad(), capture(encoder) as seen:
            encoder(tokens)
        half = len(tokens) // 2
        for layer, stream in enumerate(seen.streams):
            wide = stream.double()
            normed = torch.nn.functional.layer_norm(wide, wide.shape[-1:])
            score = linear_probe(normed[:half], normed[half:])
            yield layer, position_share(wide, tokens), score.distance / uniform_distance(tokens.shape[1])

    def train(self, case: tuple[int, int, str]) -> list[Row]:
        """Train one arm at one depth, and measure it."""
        depth, seed, arm = case
        encoder = self.trained[arm].build(seed, **(self.trained_options | {"num_layers": depth})).float()
        trained = fit(encoder, self.task, seed, self.recipe)
        length, name = self.task.length[1], f"{arm} depth {depth}"
        rows: list[Row] = [("skill", arm, depth, seed, trained.skills[length])]
        if trained.diverged:
            return rows
        encoder, measure = trained.module.encoder, partial(skill_now, trained.module, length, self.recipe.eval_size)
        whole = measure()
        for layer in range(depth + 1):
            with without_position_mean(encoder, layer):
                rows.append(("used", name, layer / depth, seed, whole - measure()))
        tokens, _ = self.task.sample(generator(seed, "study/probe"), self.batch, length)
        for layer, shares, distance in self._layers(encoder, tokens):
            rows.append(("trained_probe", name, layer / depth, seed, distance))
            rows += [(f"trained_{share}", name, layer / depth, seed, shares[share]) for share in SHARES[:2]]
        return rows

    def summary(self, found: Measurements) -> dict[str, Any]:
        """The mean over seeds of each arm's fade, and of each trained arm's skill by depth."""
        return {
            "fade": {arm: found.mean("fade", arm, 0) for arm in found.arms("fade")},
            "skill": {
                arm: {f"{at:g}": found.mean("skill", arm, at) for at in found.along("skill", arm)}
                for arm in self.trained
            },
        }

    def tables(self, found: Measurements) -> Iterator[Table]:
        """A table of the arms before training, and a table of the trained arms."""
        title = f"Before training: shares of variance and probe at layers 0 and {self.layers}"
        heads = "position 0", f"{self.layers}", "token 0", f"{self.layers}", "probe 0", f"{self.layers}", "fade"
        table = terminal.table(title, "arm", *heads)
        known = found.arms("fade")
        for name in self.arms:
            numbers = [found.mean(q, name, at) for q in ("position", "token", "probe") for at in (0, self.layers)]
            fade = f"{found.mean('fade', name, 0):+.3f}" if name in known else "–"
            table.add_row(plain(name), *(f"{number:.3f}" for number in numbers), fade)
        table.caption = "probe: distance of its answer, 1 for a guess; fade: slope of log10(position/token) per layer"
        yield table
        title = f"Trained on {self.task}: skill, and skill lost without the position mean, by layer of the deepest"
        skills = (f"skill {depth}" for depth in self.depths)
        table = terminal.table(title, "arm", *skills, "used at 0", "1/4", "1/2", "3/4", "1")
        for name in self.trained:
            used = found.frame("used", f"{name} depth {self.depths[-1]}").mean(axis=1)
            values = np.interp((0, 0.25, 0.5, 0.75, 1), used.index, used) if len(used) else []
            shown = [f"{value:+.2f}" for value in values]
            table.add_row(plain(name), *(f"{found.mean('skill', name, d):.2f}" for d in self.depths), *shown)
        yield table

    def headline(self, axis: Axes, found: Measurements) -> None:
        """The probe of position by layer before training, of the arms with position at the input."""
        places = {name: _place(arm) for name, arm in self.arms.items()}
        shown = {norm: name for name, (norm, place) in places.items() if place == "at the input"}
        curves(axis, found, "probe", shown)
        label(axis, "layer (position at the input)", "distance of a linear probe's answer, 1: a guess")

    def figure(self, found: Measurements, verdicts: Sequence[Verdict]) -> Figure:
        """Position over token and the probe before training; skill by depth and use by layer after training.

        The first curve of an arm ends where one seed has a share of 0 or less, which has no logarithm.
        """
        arms = {name: _place(arm) for name, arm in self.arms.items()}
        figure, (share, probe, skill, used) = sheet(4, 2, 2.9)
        norms, places = (dict.fromkeys(arm[i] for arm in arms.values()) for i in (0, 1))
        colours, styles = tones(norms), dict(zip(places, STYLES, strict=False))
        for arm, (norm, place) in arms.items():
            position, token = (found.frame(quantity, arm) for quantity in ("position", "token"))
            ratio = (position.where(position > 0) / token.where(token > 0)).map(np.log10)
            for axis, rows in ((share, ratio), (probe, found.frame("probe", arm))):
                band(axis, rows, colours[norm], 0.12, ls=styles[place])
        level(share, (0,))
        dress(share, "at the start: position against token", "layer", "log10 of position share / token share")
        dress(probe, "at the start: linear probe of position", "layer", "distance of its answer, 1: a guess")
        lines = [share.plot([], [], color=colour, lw=2, label=plain(norm))[0] for norm, colour in colours.items()]
        lines += [share.plot([], [], color=INK, ls=style, label=plain(place))[0] for place, style in styles.items()]
        share.legend(handles=lines, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        for arm, colour in tones(self.trained).items():
            rows = found.frame("skill", arm)
            skill.plot(rows.index, rows, "o", ms=3, color=colour, alpha=0.5)
            skill.plot(rows.mean(axis=1), color=colour, lw=1.7, label=plain(arm))
            for depth, style in zip(self.depths[::-1], STYLES, strict=False):
                mean = found.frame("used", f"{arm} depth {depth}").mean(axis=1)
                if len(mean):
                    used.plot(mean, color=colour, ls=style, lw=1.6, label=f"{plain(arm)}, {depth} layers")
        skill.set_xticks(self.depths)
        skill.set_ylim(-0.25, 1.08)
        dress(skill, "trained: one seed a dot", "depth", "skill")
        name_lines(skill)
        level(used, (0,))
        dress(used, "trained: without the mean of each position", "layer as a share of the depth", "skill lost")
        name_lines(used)
        return figure


def _place(arm: Arm) -> tuple[str, str]:
    """(placement of the norm, where position enters) of an arm, in words."""
    norm = f"{arm.options['norm']}-norm" if arm.options.get("residual", True) else "no skip"
    norm = {"none-norm": "no norm"}.get(norm, norm)
    return norm, {"input": "at the input", "every_layer": "every layer", "attention": "in attention"}[
        arm.options.get("inject") or arm.encoding.inject
    ]


def fade(shares: Sequence[tuple[float, float]], chance: tuple[float, float]) -> float | None:
    """Slope of log10(position share / token share) by layer, up to the first layer with a share below `chance`.

    None if fewer than three layers are left.
    """
    known = list(takewhile(lambda pair: pair[0] > chance[0] and pair[1] > chance[1], shares))
    if len(known) < 3:
        return None
    position, token = np.log10(known).T
    return float(np.polyfit(range(len(known)), position - token, 1)[0])
