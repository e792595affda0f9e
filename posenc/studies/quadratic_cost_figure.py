"""The figure of quadratic cost: operations, bytes and time against length, and their local slopes."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from posenc.figures import INK
from posenc.measurements import Measurements


def draw(found: Measurements, crossovers: Mapping[str, float], alike: Sequence[str]) -> Figure:
    """Four panels; an arm has one colour in all of them. The first three hold the arms of one size, `alike`."""
    arms = found.arms("flops")
    colours = dict(zip(arms, matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, len(arms))), strict=True))
    figure = Figure(figsize=(14.4, 8.4), layout="constrained")
    axes = figure.subplots(2, 2)
    for axis, quantity, title in (
        (axes[0][0], "flops", "operations of a forward pass, counted"),
        (axes[0][1], "bytes", "bytes kept for backward, counted"),
        (axes[1][0], "ms", "milliseconds of a forward pass, the fastest of the rounds"),
    ):
        curves = {arm: {n: min(sample.values()) for n, sample in found.along(quantity, arm).items()} for arm in alike}
        for place, (arm, curve) in enumerate(curves.items()):
            width = 1.2 + 0.9 * (len(alike) - 1 - place)  # equal curves lie on each other as a bundle
            axis.plot(
                [*curve], [*curve.values()], color=colours[arm], lw=width, marker="o", ms=3, solid_capstyle="round"
            )
        _name(axis, curves, colours)
        _guides(axis, curves[alike[0]])
        axis.set_yscale("log")
        _finish(axis, curves[alike[0]], title)
    _slopes(axes[1][1], found, colours, crossovers)
    return figure


def _slopes(
    axis: Axes, found: Measurements, colours: Mapping[str, np.ndarray], crossovers: Mapping[str, float]
) -> None:
    """Operations solid, bytes dotted, the formula of operations as crosses."""
    rows: dict[float, float] = {}
    for place, (arm, colour) in enumerate(colours.items()):
        for quantity, style in (("flops_slope", "-"), ("bytes_slope", ":")):
            rows = {n: min(sample.values()) for n, sample in found.along(quantity, arm).items()}
            width = 1.2 + 0.7 * (len(colours) - 1 - place)
            axis.plot([*rows], [*rows.values()], color=colour, ls=style, lw=width)
        formula = {n: min(sample.values()) for n, sample in found.along("flops_slope_formula", arm).items()}
        axis.plot([*formula], [*formula.values()], color=INK, ls="none", marker="x", ms=5, zorder=5)
    shown: dict[float, str] = {}
    for arm, crossover in crossovers.items():
        shown.setdefault(crossover, arm)
    for crossover, arm in shown.items():
        axis.axvline(crossover, color=colours[arm], lw=0.8, ls=(0, (2, 3)))
        text = f"N* = {crossover:.0f}, {arm.replace('_', ' ')}"
        axis.annotate(text, (crossover, 0.72), fontsize=8, color=colours[arm], rotation=90, ha="right")
    axis.axhline(1.8, color="#bbbbbb", lw=0.8)
    axis.set_ylim(0.7, 2.1)
    _finish(axis, rows, "local slope: 1 linear, 2 quadratic (— operations, × their formula, ··· bytes)")


def _name(axis: Axes, curves: Mapping[str, Mapping[float, float]], colours: Mapping[str, np.ndarray]) -> None:
    """Names beside the last points; curves that end within 3 % of each other share a line of text."""
    ends = sorted(((curve[max(curve)], arm) for arm, curve in curves.items()), reverse=True)
    groups: list[tuple[float, list[str]]] = []
    for value, arm in ends:
        if groups and groups[-1][0] < 1.03 * value:
            groups[-1][1].append(arm)
        else:
            groups.append((value, [arm]))
    spread = np.log10(ends[0][0] / min(min(curve.values()) for curve in curves.values()))
    height = np.inf
    last = max(curves[ends[0][1]])
    for value, arms in groups:
        height = min(np.log10(value), height - 0.045 * spread)
        text = ", ".join(arm.replace("_", " ") for arm in arms)
        axis.annotate(text, (last * 1.1, 10**height), fontsize=8, color=colours[arms[0]], va="center", clip_on=False)


def _guides(axis: Axes, curve: Mapping[float, float]) -> None:
    """Where slopes 1 and 2 would lead from the first point and to the last."""
    n, values = np.array([*curve], dtype=float), [*curve.values()]
    axis.plot(n, values[0] * (n / n[0]), color="#999999", lw=0.9, ls="--", zorder=0)
    axis.plot(n, values[-1] * (n / n[-1]) ** 2, color="#999999", lw=0.9, ls="--", zorder=0)
    one, two = len(n) - 1, len(n) // 4
    axis.annotate("slope 1", (n[one], values[0] * n[one] / n[0]), (-30, -14), textcoords="offset points", fontsize=7)
    end = (n[two], values[-1] * (n[two] / n[-1]) ** 2)
    axis.annotate("slope 2", end, (6, -4), textcoords="offset points", fontsize=7)


def _finish(axis: Axes, curve: Mapping[float, float], title: str) -> None:
    axis.set_xscale("log", base=2)
    axis.set_xticks([*curve], [f"{n:g}" for n in curve])
    axis.minorticks_off()
    axis.set_xlabel("length N", color=INK)
    axis.set_title(title, fontsize=10, color=INK, loc="left")
    axis.spines[["top", "right"]].set_visible(False)
