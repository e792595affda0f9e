"""The figure of gradient flow: profile over layers, last layer against depth, queries beside values."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from posenc.figures.style import INK
from posenc.statistics.measurements import Measurements

STYLES = ("-", "--", ":", "-.")


def draw(
    found: Measurements,
    arms: Sequence[str],
    sloped: Sequence[str],
    initialisations: Sequence[str],
    slopes: Mapping[str, Mapping[str, Any]],
    depth: int,
    rounding: float,
    figure: Figure | SubFigure,
) -> None:
    """Three panels, in a part of a figure if one is given.

    Colour is the arm, line style the initialisation (the first of them in the profiles).
    """
    colours = dict(zip(arms, matplotlib.colormaps["turbo"](np.linspace(0.08, 0.92, len(arms))), strict=True))
    left, middle, right = figure.subplots(1, 3, width_ratios=(5, 5.6, 5))
    start = initialisations[0]
    for axis, quantity, title, floor in (
        (left, "stream", f"gradient of the stream, relative to the last layer's ({start})", -3),
        (right, "query_to_value", f"gradient of the queries' weights over the values' ({start})", -20),
    ):
        for arm in arms:
            rows = found.along(quantity, f"{arm} {start}")
            place = min(rows) if quantity == "stream" else max(rows)
            end = np.mean([*rows[place].values()])
            text = f"{10**end:.1g}" if end > rounding else f"below $10^{{{rounding:g}}}$"
            label = f"{arm.replace('_', ' ')} ({text} in layer {place:g})"
            _band(axis, found, quantity, f"{arm} {start}", colours[arm], "-", label)
        axis.axhline(0, color="#bbbbbb", lw=0.8, zorder=0)
        axis.set_ylim(floor, -floor if quantity == "stream" else 2)  # what leaves the panel is told in the legend
        axis.set_title(title, fontsize=9.5, color=INK, loc="left")
        axis.set_xlabel(f"layer of {depth}", color=INK)
        axis.set_ylabel("log10", color=INK)
        axis.set_xticks(range(0, depth + 1, max(1, depth // 6)))
        axis.legend(fontsize=8, edgecolor="white", loc="lower left" if quantity == "stream" else (0.24, 0.3))
    right.axhspan(-20, rounding, color="#eeeeee", zorder=0)
    right.annotate("rounding errors of float64", (0.3, -19.6), fontsize=7, color="#777777")
    _depths(middle, found, sloped, initialisations, slopes, colours)
    for axis in (left, middle, right):
        axis.spines[["top", "right"]].set_visible(False)


def _depths(
    axis: Axes,
    found: Measurements,
    sloped: Sequence[str],
    initialisations: Sequence[str],
    slopes: Mapping[str, Mapping[str, Any]],
    colours: Mapping[str, np.ndarray],
) -> None:
    """The last layer's gradient against depth beside the slope of −1/2."""
    for arm in sloped:
        for each, style in zip(initialisations, STYLES, strict=False):
            name = f"{arm} {each}"
            label = f"{arm.replace('_', ' ')}, {each}: slope {slopes[name]['slope']:+.2f}"
            _band(axis, found, "last_gradient", name, colours[arm], style, label)
    rows = found.along("last_gradient", f"{sloped[0]} {initialisations[0]}")
    depths = np.array([*rows])
    start = np.mean([*rows[depths[0]].values()]) - 0.06
    axis.plot(depths, start - 0.5 * np.log10(depths / depths[0]), color="#777777", lw=0.9)
    end = (depths[-1], start - 0.5 * np.log10(depths[-1] / depths[0]))
    axis.annotate("slope −½", end, (2, -4), textcoords="offset points", fontsize=8, color="#777777")
    axis.set_xscale("log", base=2)
    axis.set_xticks(depths, [f"{each:g}" for each in depths])
    axis.minorticks_off()
    axis.set_ylim(top=axis.get_ylim()[1] + 0.9)
    axis.set_xlabel("depth L", color=INK)
    axis.set_ylabel("log10 of the gradient's norm", color=INK)
    axis.set_title("last MLP matrix of the stack against its depth", fontsize=9.5, color=INK, loc="left")
    axis.legend(fontsize=7.5, frameon=False, loc="upper right", ncols=2)


def _band(axis: Axes, found: Measurements, quantity: str, arm: str, colour: np.ndarray, style: str, label: str) -> None:
    """Mean over the seeds, and their standard deviation as a band."""
    rows = found.along(quantity, arm)
    values = np.array([[*sample.values()] for sample in rows.values()])
    mean, deviation = values.mean(1), values.std(1)
    axis.plot([*rows], mean, color=colour, ls=style, lw=1.7, marker="o", ms=2.5, label=label)
    axis.fill_between([*rows], mean - deviation, mean + deviation, color=colour, alpha=0.15, lw=0)
