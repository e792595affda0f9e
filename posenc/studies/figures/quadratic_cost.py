"""The figure of quadratic cost: operations, bytes and time against length, and their local slopes."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from posenc.figures.style import INK
from posenc.statistics.measurements import Measurements
from posenc.studies.method.curves import FAINT, colours, dress, plain

Curve = Mapping[float, float]
Colours = Mapping[str, np.ndarray]


def draw(found: Measurements, crossovers: Mapping[str, float], alike: Sequence[str]) -> Figure:
    """Four panels; an arm has one colour in all of them. The first three hold the arms of one size, `alike`."""
    tones = colours(found.arms("flops"))
    figure = Figure(figsize=(14.4, 8.4), layout="constrained")
    axes = figure.subplots(2, 2)
    for axis, quantity, title in (
        (axes[0][0], "flops", "operations of a forward pass, counted"),
        (axes[0][1], "bytes", "bytes kept for backward, counted"),
        (axes[1][0], "ms", "milliseconds of processor time of a forward pass, the fastest of the rounds"),
    ):
        curves = {arm: _least(found, quantity, arm) for arm in alike}
        axis.set_yscale("log")
        _plot(axis, curves, tones)
        _guides(axis, curves[alike[0]])
        _finish(axis, curves[alike[0]], title)
    _slopes(axes[1][1], found, tones, crossovers)
    return figure


def _least(found: Measurements, quantity: str, arm: str) -> dict[float, float]:
    return found.frame(quantity, arm).min(axis=1).to_dict()


def _groups(curves: Mapping[str, Curve], tolerance: float) -> dict[str, str]:
    """One arm for all whose curves nowhere differ by more than `tolerance` times their value, and all their names."""
    groups: list[list[str]] = []
    for arm, curve in curves.items():
        for group in groups:
            if all(abs(value / curves[group[0]][n] - 1) < tolerance for n, value in curve.items()):
                group.append(arm)
                break
        else:
            groups.append([arm])
    rows = {group[0]: [plain(name) for name in group] for group in groups}
    return {
        arm: ",\n".join(", ".join(names[start : start + 3]) for start in range(0, len(names), 3))
        for arm, names in rows.items()
    }


def _plot(axis: Axes, curves: Mapping[str, Curve], tones: Colours) -> None:
    """Curves with their names beside the last points, moved apart where they would touch."""
    ends = []
    for arm, names in _groups(curves, 0.06).items():
        curve = curves[arm]
        axis.plot([*curve], [*curve.values()], color=tones[arm], lw=1.7, marker="o", ms=3)
        ends.append((np.log10(curve[max(curve)]), max(curve), names, tones[arm]))
    low, high = np.log10(axis.get_ylim())
    step, height = 0.045 * (high - low), np.inf
    for value, last, names, colour in sorted(ends, key=lambda end: -end[0]):
        height = min(value, height - step)
        axis.annotate(names, (last * 1.12, 10**height), fontsize=8, color=colour, va="center", annotation_clip=False)
        height -= step * names.count("\n")


def _slopes(axis: Axes, found: Measurements, tones: Colours, crossovers: Mapping[str, float]) -> None:
    """Operations solid, bytes dotted, the formula of operations as crosses."""
    axis.set_ylim(0.7, 2.1)
    for quantity, style, what in (("flops_slope", "-", "operations"), ("bytes_slope", ":", "bytes")):
        curves = {arm: _least(found, quantity, arm) for arm in tones}
        for arm, names in _groups(curves, 0.03).items():
            label = f"{what}: {names}"
            axis.plot([*curves[arm]], [*curves[arm].values()], color=tones[arm], ls=style, lw=1.8, label=label)
    axis.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    for arm in tones:
        formula = _least(found, "flops_slope_formula", arm)
        axis.plot([*formula], [*formula.values()], color=INK, ls="none", marker="x", ms=5, zorder=5)
    shown: dict[float, str] = {}
    for arm, crossover in crossovers.items():
        shown.setdefault(crossover, arm)
    for crossover, arm in shown.items():
        axis.axvline(crossover, color=tones[arm], lw=0.8, ls=(0, (2, 3)))
        text = f"N* = {crossover:.0f}, {plain(arm)}"
        axis.annotate(text, (crossover, 0.72), fontsize=8, color=tones[arm], rotation=90, ha="right")
    axis.axhline(1.8, color=FAINT, lw=0.8)
    title = "local slope: 1 linear, 2 quadratic (— operations, × their formula, ··· bytes)"
    _finish(axis, _least(found, "flops_slope", next(iter(tones))), title)


def _guides(axis: Axes, curve: Curve) -> None:
    """Where slopes 1 and 2 would lead from the first point and to the last."""
    n, values = np.array([*curve], dtype=float), [*curve.values()]
    axis.plot(n, values[0] * (n / n[0]), color="#999999", lw=0.9, ls="--", zorder=0)
    axis.plot(n, values[-1] * (n / n[-1]) ** 2, color="#999999", lw=0.9, ls="--", zorder=0)
    one, two = len(n) - 1, len(n) // 4
    axis.annotate("slope 1", (n[one], values[0] * n[one] / n[0]), (-30, -14), textcoords="offset points", fontsize=7)
    end = (n[two], values[-1] * (n[two] / n[-1]) ** 2)
    axis.annotate("slope 2", end, (6, -4), textcoords="offset points", fontsize=7)


def _finish(axis: Axes, curve: Curve, title: str) -> None:
    axis.set_xscale("log", base=2)
    axis.set_xticks([*curve], [f"{n:g}" for n in curve])
    axis.minorticks_off()
    dress(axis, title, "length N", size=10)
