"""Gradient flow: the gradient that reaches each layer in the first backward pass, and its dependence on depth."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table
from torch.nn import functional as F

from posenc import checks, terminal
from posenc.diagnostics import capture, gradient_norms, stream_gradients
from posenc.figures.marks import dress, level, name_lines, power
from posenc.figures.style import FAINT, SHADE, WIDTH, tones
from posenc.model.encoder import Encoder
from posenc.model.initialise import INITIALISATIONS
from posenc.statistics import SOLVED, mean_interval
from posenc.statistics.claims import Verdict
from posenc.statistics.measurements import Measurements
from posenc.streams import generator
from posenc.studies.method.base import Study, draw_tokens
from posenc.studies.method.curves import STYLES, band, curves, label, plain
from posenc.studies.method.trainability import Trainability
from posenc.studies.method.trained import Row

ROUNDING = -15
"""log10 of the smallest ratio of gradients in float64 that is not a rounding error."""


@dataclass(eq=False)
class GradientFlow(Study):
    """Norms of the first gradient by layer, matrix, depth, norm placement and initialisation.

    The loss is cross-entropy against random targets, one for each token. Arms are named "<arm> <initialisation>".

        last_gradient  log10 ‖∂loss/∂W‖_F of the last block's mlp_out, `at` the depth L
        slope          slope of log last_gradient on log L, `at` 0: the theory of Xiong et al. 2020
                       (https://arxiv.org/abs/2002.04745) says −1/2 for pre-norm and 0 for post-norm
        stream         log10 ‖∂loss/∂h_l‖ / ‖∂loss/∂h_L‖, `at` l, in `profile_depth` layers; 0: equal gradients
        query, ...     log10 of the norm of each matrix's gradient, `at` the block (from 1)
        query_to_value log10 of query / value: −∞ under rank collapse (Noci et al. 2022,
                       https://arxiv.org/abs/2206.03126)

    depths           depths L for `slope`
    sloped           arms for `slope`
    initialisations  names in posenc.model.initialise
    trainability     trainings (posenc.studies.method.trainability); None: only the first gradient
    """

    dim: int
    num_heads: int
    length: int
    batch: int
    vocab_size: int
    depths: Sequence[int]
    sloped: Sequence[str]
    initialisations: Sequence[str]
    profile_depth: int
    trainability: Trainability | None = None

    def __post_init__(self) -> None:
        """Check the options."""
        super().__post_init__()
        checks.positive(self, length=self.length, batch=self.batch, vocab_size=self.vocab_size)
        checks.positive(self, profile_depth=self.profile_depth)
        for depth in self.depths:
            checks.positive(self, depths=depth)
        for name in self.initialisations:
            checks.one_of(self, INITIALISATIONS, initialisations=name)
        for name in self.sloped:
            checks.one_of(self, self.arms, sloped=name)
        self.depths, self.sloped, self.initialisations = sorted(self.depths), [*self.sloped], [*self.initialisations]
        self.options: dict[str, Any] = {
            "vocab_size": self.vocab_size, "num_outputs": self.vocab_size, "dim": self.dim,
            "num_heads": self.num_heads, "readout": "per_token",
        }  # fmt: skip

    def measure(self, seed: int) -> Measurements:
        """The profiles of all arms, then the last layer's gradient at every depth, then the trainings."""
        found, seeds = Measurements(), range(seed, seed + self.seeds)
        for work, arms in ((self.profile, [*self.arms]), (self.slope, self.sloped)):
            cases = list(product(arms, self.initialisations, seeds))
            found.extend(self.workers.spread(work, cases, f"{work.__name__}s"))
        if self.trainability is not None:
            self.trainability.measure(found, seed, self.workers)
        return found

    def _encoder(self, name: str, start: str, depth: int, seed: int) -> Encoder:
        encoder = self.arms[name].build(seed, **(self.options | {"num_layers": depth}))
        INITIALISATIONS[start](encoder)
        return encoder

    def _backward(self, encoder: Encoder, seed: int) -> None:
        tokens = draw_tokens(seed, self.batch, self.length, self.vocab_size)
        targets = torch.randint(self.vocab_size, tokens.shape, generator=generator(seed, "study/targets"))
        F.cross_entropy(encoder(tokens).flatten(0, 1), targets.flatten()).backward()

    def slope(self, case: tuple[str, str, int]) -> list[Row]:
        """The last layer's gradient of one arm at every depth."""
        name, start, seed = case
        arm, last = f"{name} {start}", {}
        for depth in self.depths:
            encoder = self._encoder(name, start, depth, seed)
            self._backward(encoder, seed)
            last[depth] = float(np.log10(gradient_norms(encoder)[-1]["mlp_out"]))
        slope = float(np.polyfit(np.log10([*last]), [*last.values()], 1)[0])
        rows: list[Row] = [("last_gradient", arm, depth, seed, value) for depth, value in last.items()]
        return [*rows, ("slope", arm, 0, seed, slope)]

    def profile(self, case: tuple[str, str, int]) -> list[Row]:
        """The gradients of all layers of one arm."""
        name, start, seed = case
        rows: list[Row] = []
        encoder, arm = self._encoder(name, start, self.profile_depth, seed), f"{name} {start}"
        with capture(encoder) as seen:
            self._backward(encoder, seed)
        for layer, ratio in enumerate(stream_gradients(seen.streams)):
            rows.append(("stream", arm, layer, seed, float(ratio.log10())))
        for layer, norms in enumerate(gradient_norms(encoder), start=1):
            logs = {group: float(np.log10(max(norm, np.finfo(float).tiny))) for group, norm in norms.items()}
            rows += [(group, arm, layer, seed, value) for group, value in logs.items()]
            rows.append(("query_to_value", arm, layer, seed, logs["query"] - logs["value"]))
        return rows

    def summary(self, found: Measurements) -> dict[str, Any]:
        """The slope of each arm with its 95 % interval over seeds."""
        slopes = {arm: mean_interval([*found.sample("slope", arm, 0).values()]) for arm in found.arms("slope")}
        return {arm: {"slope": each.estimate, "low": each.low, "high": each.high} for arm, each in slopes.items()}

    def tables(self, found: Measurements) -> Iterator[Table]:
        """One row for each arm and initialisation."""
        title = (
            f"First gradient: slope over depths {self.depths[0]} to {self.depths[-1]}; profile in {self.profile_depth}"
        )
        heads = "slope", "95 % interval", "input/last", "query/value, last"
        table = terminal.table(title, "arm, initialisation", *heads)
        slopes = self.summary(found)
        for arm in found.arms("stream"):
            slope = slopes.get(arm, {})
            ends = slope.get("low") is not None
            ratio = found.mean("query_to_value", arm, self.profile_depth)
            table.add_row(
                plain(arm),
                f"{slope['slope']:.3f}" if slope else "–",
                f"{slope['low']:.3f} .. {slope['high']:.3f}" if ends else "–",
                f"{10 ** found.mean('stream', arm, 0):.1e}",
                f"{10**ratio:.1e}" if ratio > ROUNDING else "< 1e-15",
            )
        table.caption = "input/last: gradient that reaches the embeddings, as a multiple of the last layer's"
        yield table
        if self.trainability is not None:
            title = f"Seeds whose skill on {self.trainability.task} reaches {SOLVED:g}"
            table = terminal.table(title, "arm", *(f"depth {depth}" for depth in self.trainability.depths))
            for name, row in self.trainability.rows(found):
                table.add_row(plain(name), *row)
            yield table

    def headline(self, axis: Axes, found: Measurements) -> None:
        """Gradient of the residual stream by layer, for the first initialisation."""
        start = self.initialisations[0]
        curves(axis, found, "stream", {name: f"{name} {start}" for name in self.arms})
        axis.set_ylim(-3, 3)
        level(axis, (0,))
        label(axis, f"layer of {self.profile_depth}", "log10 of the gradient, relative to the last layer's")

    def figure(self, found: Measurements, verdicts: Sequence[Verdict]) -> Figure:
        """Gradients by layer, of queries over values, and against depth; below them the trainings, if measured.

        Colours are arms and line styles initialisations; profiles show the first initialisation.
        """
        figure = Figure(figsize=(WIDTH, 6.0 if self.trainability is None else 9.2), layout="constrained")
        part = figure
        if self.trainability is not None:
            part = figure.add_subfigure((grid := figure.add_gridspec(2, 1, height_ratios=[6.0, 3.2]))[0])
            self.trainability.draw(figure.add_subfigure(grid[1]), found)
        colours = tones(self.arms)
        left, right, middle, spare = part.subplots(2, 2).ravel()
        spare.set_axis_off()
        start = self.initialisations[0]
        for axis, quantity, title, floor in (
            (left, "stream", f"gradient of the stream / the last layer's ({start})", -3),
            (right, "query_to_value", f"gradient of queries / values ({start})", -20),
        ):
            for arm in self.arms:
                rows = found.frame(quantity, f"{arm} {start}")
                place = rows.index[0 if quantity == "stream" else -1]
                end = found.mean(quantity, f"{arm} {start}", place)
                text = f"{10**end:.1g}" if end > ROUNDING else f"below {power(ROUNDING)}"
                named = f"{plain(arm)} ({text} in layer {place:g})"
                band(axis, rows, colours[arm], marker="o", ms=2.5, label=named)
            level(axis, (0,))
            axis.set_ylim(floor, -floor if quantity == "stream" else 2)  # the labels have values outside the panel
            dress(axis, title, f"layer of {self.profile_depth}", "log10")
            axis.set_xticks(range(0, self.profile_depth + 1, max(1, self.profile_depth // 6)))
            name_lines(axis)
        right.axhspan(-20, ROUNDING, color=SHADE, zorder=0)
        right.annotate("rounding errors of float64", (0.3, -19.6), color=FAINT)
        self._depths(middle, found, colours)
        return figure

    def _depths(self, axis: Axes, found: Measurements, colours: Mapping[str, str]) -> None:
        """The last layer's gradient against depth, beside a line of slope −1/2."""
        slopes = self.summary(found)
        for arm in self.sloped:
            for each, style in zip(self.initialisations, STYLES, strict=False):
                name = f"{arm} {each}"
                named = f"{plain(arm)}, {each}: slope {slopes[name]['slope']:+.2f}"
                rows = found.frame("last_gradient", name)
                band(axis, rows, colours[arm], ls=style, marker="o", ms=2.5, label=named)
        mean = found.frame("last_gradient", f"{self.sloped[0]} {self.initialisations[0]}").mean(axis=1)
        depths, start = mean.index.to_numpy(), mean.iloc[0] - 0.06
        axis.plot(depths, start - 0.5 * np.log10(depths / depths[0]), color=FAINT, lw=0.9)
        end = (depths[-1], start - 0.5 * np.log10(depths[-1] / depths[0]))
        axis.annotate("slope −½", end, (2, -4), textcoords="offset points", color=FAINT)
        axis.set_xscale("log", base=2)
        axis.set_xticks(depths, [f"{each:g}" for each in depths])
        axis.minorticks_off()
        dress(axis, "last MLP matrix of the stack against its depth", "depth L", "log10 of the gradient's norm")
        name_lines(axis)
