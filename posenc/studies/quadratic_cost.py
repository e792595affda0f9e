"""Quadratic cost: operations, bytes and time of self-attention against length."""

import math
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.progress import track
from rich.table import Table
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from posenc import checks, terminal
from posenc.checks import ConfigError
from posenc.figures.marks import End, dress, end_labels, power, sheet
from posenc.figures.style import CEILING, INK, SMALL, tones
from posenc.model.encoder import Encoder
from posenc.statistics.claims import Verdict
from posenc.statistics.measurements import Measurements
from posenc.studies.method.base import Study
from posenc.studies.method.curves import curves, label, plain

Curve = Mapping[float, float]
Colours = Mapping[str, str]
LETTERS = 24
"""The number of characters in one line of the names beside a curve."""


@dataclass(eq=False)
class QuadraticCost(Study):
    """Operations, bytes kept for backward, and milliseconds of one sequence against its length N, for each arm.

        operations  F = L·(24 N D² + c N² D),   c = 4 if the bias needs no matrix products
        crossover   N* = 24 D / c, the length at which both terms are equal
        slope       ∂log F/∂log N = 1 + N/(N + N*)
        bytes       explicit attention, float32: 4 N·(L·(16 D + H N) + D);   the terms are equal at N = 16 D / H

    24 D² is 8 D² for q, k, v and output, and 16 D² for the MLP; a multiplication and an addition are two operations, as
    in Korthikanti et al. 2022 (https://arxiv.org/abs/2205.05198). torch counts `flops` and `bytes` exactly, on tensors
    without data; their local slopes are between 7/8 N and 9/8 N. The counter does not know torch's fused attention for
    the CPU, so operations are those of explicit attention; bytes are those of the kernel that would run. `ms` is the
    processor time of a forward pass without gradient; each seed is one round, in which every arm is timed once.

    products   c of each arm
    lengths    the values of N, multiples of 8; those up to `timed` are timed
    """

    seeds: int = field(init=False, default=1)
    products: Mapping[str, float]
    dim: int
    num_heads: int
    layers: int
    lengths: Sequence[int]
    timed: int
    rounds: int

    def __post_init__(self) -> None:
        """Check the options."""
        super().__post_init__()
        checks.positive(self, layers=self.layers, timed=self.timed, rounds=self.rounds)
        for length in self.lengths:
            checks.positive(self, minimum=8, lengths=length)
            if length % 8:
                raise ConfigError(f"QuadraticCost: lengths must be multiples of 8, got {length}.")
        for name in self.arms:
            checks.one_of(self, self.products, products=name)
        self.lengths = sorted(self.lengths)
        self.options: dict[str, Any] = {
            "vocab_size": 20, "num_outputs": 1, "dim": self.dim, "num_heads": self.num_heads, "num_layers": self.layers
        }  # fmt: skip

    def measure(self, seed: int) -> Measurements:
        """Count for every arm at every length, then time the arms in turn."""
        found = Measurements()
        encoders = {name: arm.build(seed, **self.options).float() for name, arm in self.arms.items()}
        for name, encoder in track(encoders.items(), "counting", transient=True):
            for length in self.lengths:
                near = (length * 7 // 8, length * 9 // 8)
                flops = {n: count_flops(encoder, n) for n in (length, *near)}
                formula = {n: self.formula(name, n) for n in (length, *near)}
                kept = {n: count_bytes(encoder, n) for n in flops}
                found.add("flops", name, length, seed, flops[length])
                found.add("flops_ratio", name, length, seed, flops[length] / formula[length])
                found.add("flops_slope", name, length, seed, _slope(flops, *near))
                found.add("flops_slope_formula", name, length, seed, _slope(formula, *near))
                found.add("bytes", name, length, seed, kept[length])
                found.add("bytes_slope", name, length, seed, _slope(kept, *near))
        for each in track(range(self.rounds), "timing", transient=True):
            for length in (n for n in self.lengths if n <= self.timed):
                for name, encoder in encoders.items():
                    found.add("ms", name, length, each, milliseconds(encoder, length))
        return found

    def formula(self, arm: str, length: int) -> float:
        """The operations F of an arm."""
        options = self.options | self.arms[arm].options
        dim = options["dim"]
        return options["num_layers"] * (24 * length * dim**2 + self.products[arm] * length**2 * dim)

    def crossover(self, arm: str) -> float:
        """The crossover N* of an arm."""
        return 24 * (self.options | self.arms[arm].options)["dim"] / self.products[arm]

    def summary(self, found: Measurements) -> dict[str, Any]:
        """The crossover of each arm, and the largest relative error of the formula."""
        return {
            name: {
                "crossover": self.crossover(name),
                "largest_misfit_of_flops": float((found.frame("flops_ratio", name) - 1).abs().max(axis=None)),
            }
            for name in self.arms
        }

    def tables(self, found: Measurements) -> Iterator[Table]:
        """One row for each arm, with values at the shortest and at the longest length."""
        low, high, timed = self.lengths[0], self.lengths[-1], max(n for n in self.lengths if n <= self.timed)
        title = "Cost against length: slope of operations, bytes for backward, time"
        heads = "N*", "misfit", f"slope {low}", f"{high}", f"MiB {high}", "slope", f"ms {timed}"
        table = terminal.table(title, "arm", *heads)
        for name, row in self.summary(found).items():
            table.add_row(
                plain(name),
                f"{row['crossover']:.0f}",
                f"{100 * row['largest_misfit_of_flops']:.2f} %",
                *(f"{found.mean('flops_slope', name, at):.2f}" for at in (low, high)),
                f"{found.mean('bytes', name, high) / 2**20:.1f}",
                f"{found.mean('bytes_slope', name, high):.2f}",
                f"{min(found.sample('ms', name, timed).values()):.1f}",
            )
        table.caption = "N*: length with equal linear and quadratic terms; misfit: error of the formula of operations"
        yield table

    def headline(self, axis: Axes, found: Measurements) -> None:
        """Local slopes of operations."""
        curves(axis, found, "flops_slope", {f"operations: {name}": name for name in self.arms})
        axis.set_xscale("log", base=2)
        axis.axhline(2, color=CEILING, lw=0.8, zorder=0)
        label(axis, "length N", "local slope: 1 linear, 2 quadratic")

    def figure(self, found: Measurements, verdicts: Sequence[Verdict]) -> Figure:
        """Operations, bytes and times of the arms of the study's size, and the local slopes of all arms."""
        size = {name: self.options | arm.options for name, arm in self.arms.items()}
        alike = [name for name in size if all(size[name][key] == self.options[key] for key in ("dim", "num_layers"))]
        colours = tones(found.arms("flops"))
        figure, axes = sheet(4, 2, 3.0)
        for axis, quantity, title in (
            (axes[0], "flops", "operations of a forward pass, counted"),
            (axes[1], "bytes", "bytes kept for backward, counted"),
            (axes[2], "ms", "milliseconds of a forward pass, fastest round"),
        ):
            lines = {arm: _least(found, quantity, arm) for arm in alike}
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter(
                lambda value, _: power(round(np.log10(value))) if value > 100 else f"{value:g}"
            )
            _finish(axis, lines[alike[0]], title)
            _guides(axis, lines[alike[0]])
            _plot(axis, lines, colours, 1.8)
        _local_slopes(axes[3], found, colours, {name: self.crossover(name) for name in self.arms})
        return figure


def count_flops(encoder: Encoder, length: int) -> int:
    """The operations of one forward pass over one sequence."""
    bare = deepcopy(encoder).to("meta")
    with FlopCounterMode(display=False) as counter:
        bare(torch.zeros(1, length, dtype=torch.long, device="meta"))
    return counter.get_total_flops()


def count_bytes(encoder: Encoder, length: int) -> int:
    """The bytes that one forward pass keeps for backward, without parameters; each storage counts once."""
    kept: dict[int, Tensor] = {}

    def pack(x: Tensor) -> Tensor:
        kept[x.untyped_storage()._cdata] = x
        return x

    with FakeTensorMode() as fake, saved_tensors_hooks(pack, lambda x: x):
        held = encoder.state_dict(keep_vars=True)
        weights: dict[str, Tensor] = {name: fake.from_tensor(tensor) for name, tensor in held.items()}
        functional_call(encoder, weights, (torch.zeros(1, length, dtype=torch.long),))
    own = {tensor.untyped_storage()._cdata for tensor in weights.values()}
    return sum(x.untyped_storage().nbytes() for place, x in kept.items() if place not in own)


@torch.no_grad()
def milliseconds(encoder: Encoder, length: int) -> float:
    """The processor time of one forward pass over one sequence, summed over all threads."""
    tokens = torch.zeros(1, length, dtype=torch.long)
    began = time.process_time()
    encoder(tokens)
    return 1e3 * (time.process_time() - began)


def _slope(values: Mapping[int, float], low: int, high: int) -> float:
    return math.log(values[high] / values[low]) / math.log(high / low)


def _least(found: Measurements, quantity: str, arm: str) -> dict[float, float]:
    return found.frame(quantity, arm).min(axis=1).to_dict()


def _groups(curves: Mapping[str, Curve], tolerance: float) -> dict[str, str]:
    """{first arm: names of the group}: curves in one group differ by less than the relative `tolerance`."""
    groups: list[list[str]] = []
    for arm, curve in curves.items():
        for group in groups:
            if all(abs(value / curves[group[0]][n] - 1) < tolerance for n, value in curve.items()):
                group.append(arm)
                break
        else:
            groups.append([arm])
    whole = partial(textwrap.fill, width=LETTERS, break_long_words=False, break_on_hyphens=False)
    return {group[0]: whole(", ".join(plain(name).replace(" ", "\u00a0") for name in group)) for group in groups}


def _plot(axis: Axes, curves: Mapping[str, Curve], colours: Colours, height: float) -> None:
    """Curves with their names beside the last points; `height` as in `end_labels`."""
    ends = []
    for arm, names in _groups(curves, 0.06).items():
        curve = curves[arm]
        axis.plot([*curve], [*curve.values()], color=colours[arm], lw=1.7, marker="o", ms=3)
        ends.append(End(max(curve), curve[max(curve)], names, colours[arm]))
    end_labels(axis, ends, height)


def _local_slopes(axis: Axes, found: Measurements, colours: Colours, crossovers: Mapping[str, float]) -> None:
    """Draw the slopes of operations (solid), of bytes (dotted) and of the formula of operations (crosses)."""
    axis.set_ylim(0.7, 2.45)  # the names of the crossovers are above 2
    for quantity, style, what in (("flops_slope", "-", "operations"), ("bytes_slope", ":", "bytes")):
        curves = {arm: _least(found, quantity, arm) for arm in colours}
        for arm, names in _groups(curves, 0.03).items():
            label = f"{what}: {names}"
            axis.plot([*curves[arm]], [*curves[arm].values()], color=colours[arm], ls=style, lw=1.8, label=label)
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2, handlelength=1.2)
    for arm in colours:
        formula = _least(found, "flops_slope_formula", arm)
        axis.plot([*formula], [*formula.values()], ls="none", color=INK, marker="x", ms=5, zorder=5)
    shown: dict[float, str] = {}
    for arm, crossover in crossovers.items():
        shown.setdefault(crossover, arm)
    for row, (crossover, arm) in enumerate(sorted(shown.items())):
        axis.axvline(crossover, color=colours[arm], lw=0.8, ls=(0, (2, 3)))
        text, place = f"N* = {crossover:.0f}, {plain(arm)}", (crossover, 2.43 - 0.13 * row)
        how: dict[str, Any] = {"textcoords": "offset points", "va": "top", "fontsize": SMALL}
        axis.annotate(text, place, (2, 0), color=colours[arm], **how)
    axis.axhline(1.8, color=CEILING, lw=0.8)
    title = "local slope (× formula of operations)"
    _finish(axis, _least(found, "flops_slope", next(iter(colours))), title)


def _guides(axis: Axes, curve: Curve) -> None:
    """Draw a line of slope 1 from the first point and a line of slope 2 to the last point."""
    n, values = np.array([*curve], dtype=float), [*curve.values()]
    axis.plot(n, values[0] * (n / n[0]), color=CEILING, lw=0.9, ls="--", zorder=0)
    axis.plot(n, values[-1] * (n / n[-1]) ** 2, color=CEILING, lw=0.9, ls="--", zorder=0)
    one, two = len(n) - 1, len(n) // 4
    axis.annotate("slope 1", (n[one], values[0] * n[one] / n[0]), (-30, -14), textcoords="offset points")
    end = (n[two], values[-1] * (n[two] / n[-1]) ** 2)
    axis.annotate("slope 2", end, (6, -4), textcoords="offset points")


def _finish(axis: Axes, curve: Curve, title: str) -> None:
    axis.set_xscale("log", base=2)
    axis.set_xticks([*curve], [f"{n:g}" for n in curve])
    axis.minorticks_off()
    dress(axis, title, "length N")
