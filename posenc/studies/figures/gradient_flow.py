"""The figure of gradient flow: profile over layers, last layer against depth, queries beside values."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from posenc.statistics.measurements import Measurements
from posenc.studies.method.curves import FAINT, STYLES, band, colours, dress, plain


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
    tones = colours(arms, 0.08, 0.92)
    left, middle, right = figure.subplots(1, 3, width_ratios=(5, 5.6, 5))
    start = initialisations[0]
    for axis, quantity, title, floor in (
        (left, "stream", f"gradient of the stream, relative to the last layer's ({start})", -3),
        (right, "query_to_value", f"gradient of the queries' weights over the values' ({start})", -20),
    ):
        for arm in arms:
            rows = found.frame(quantity, f"{arm} {start}")
            place = rows.index[0 if quantity == "stream" else -1]
            end = found.mean(quantity, f"{arm} {start}", place)
            text = f"{10**end:.1g}" if end > rounding else f"below $10^{{{rounding:g}}}$"
            label = f"{plain(arm)} ({text} in layer {place:g})"
            band(axis, rows, tones[arm], marker="o", ms=2.5, label=label)
        axis.axhline(0, color=FAINT, lw=0.8, zorder=0)
        axis.set_ylim(floor, -floor if quantity == "stream" else 2)  # what leaves the panel is told in the legend
        dress(axis, title, f"layer of {depth}", "log10")
        axis.set_xticks(range(0, depth + 1, max(1, depth // 6)))
        axis.legend(fontsize=8, edgecolor="white", loc="lower left" if quantity == "stream" else (0.24, 0.3))
    right.axhspan(-20, rounding, color="#eeeeee", zorder=0)
    right.annotate("rounding errors of float64", (0.3, -19.6), fontsize=7, color="#777777")
    _depths(middle, found, sloped, initialisations, slopes, tones)


def _depths(
    axis: Axes,
    found: Measurements,
    sloped: Sequence[str],
    initialisations: Sequence[str],
    slopes: Mapping[str, Mapping[str, Any]],
    tones: Mapping[str, np.ndarray],
) -> None:
    """The last layer's gradient against depth beside the slope of −1/2."""
    for arm in sloped:
        for each, style in zip(initialisations, STYLES, strict=False):
            name = f"{arm} {each}"
            rows, label = (
                found.frame("last_gradient", name),
                f"{plain(arm)}, {each}: slope {slopes[name]['slope']:+.2f}",
            )
            band(axis, rows, tones[arm], ls=style, marker="o", ms=2.5, label=label)
    mean = found.frame("last_gradient", f"{sloped[0]} {initialisations[0]}").mean(axis=1)
    depths, start = mean.index.to_numpy(), mean.iloc[0] - 0.06
    axis.plot(depths, start - 0.5 * np.log10(depths / depths[0]), color="#777777", lw=0.9)
    end = (depths[-1], start - 0.5 * np.log10(depths[-1] / depths[0]))
    axis.annotate("slope −½", end, (2, -4), textcoords="offset points", fontsize=8, color="#777777")
    axis.set_xscale("log", base=2)
    axis.set_xticks(depths, [f"{each:g}" for each in depths])
    axis.minorticks_off()
    axis.set_ylim(top=axis.get_ylim()[1] + 0.9)
    dress(axis, "last MLP matrix of the stack against its depth", "depth L", "log10 of the gradient's norm")
    axis.legend(fontsize=7.5, frameon=False, loc="upper right", ncols=2)
