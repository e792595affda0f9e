"""Every encoding on every dataset at one glance: mean skill within and past the trained lengths."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from posenc.report.numbers.facets import Facet
from posenc.report.numbers.palette import FAINT, INK, shown
from posenc.report.pages.figures import common_order

FEWEST = 3
"""Datasets and arms from which on a matrix says more than the panels of the other figures."""
DARK = 0.6
"""Skill below which a cell of viridis wants white digits."""


@dataclass(frozen=True)
class Matrix:
    """Mean skill over seeds: a row an arm, the highest mean first, a column a facet; NaN where there is none."""

    title: str
    arms: list[str]
    columns: list[str]
    values: np.ndarray


def matrices(facets: Sequence[Facet]) -> list[Matrix]:
    """At the trained length of each dataset, and at the longest test length of those that are tested past it.

    None where there is too little.
    """
    facets = [facet for facet in facets if facet.metric == "skill"]
    arms = common_order(facets)
    if min(len(facets), len(arms)) < FEWEST:
        return []
    near = [(facet, facet.length) for facet in facets]
    far = [(facet, longest) for facet in facets if (longest := max(facet.lengths())) > facet.length]
    found = []
    for title, cells in (("at the trained length", near), ("at the longest test length", far)):
        if cells:
            values = [[_mean(facet, arm, n) for facet, n in cells] for arm in arms]
            found.append(Matrix(title, arms, [f"{facet.title} {n}" for facet, n in cells], np.array(values)))
    return found


def _mean(facet: Facet, arm: str, length: int) -> float:
    values = facet.values(arm, "skill", length)
    return fmean(values.values()) if values else np.nan


def written(value: float) -> str:
    """Skill in two digits, without the zero before the point."""
    if np.isnan(value):
        return ""
    text = f"{value:.2f}".replace("0.", ".", 1).replace("-", "−")
    return {".00": "0", "−.00": "0", "1.00": "1"}.get(text, text)


def draw(found: Sequence[Matrix]) -> Figure:
    """The matrices beside each other."""
    rows, columns = len(found[0].arms), [len(each.columns) for each in found]
    width = 0.07 * max(map(len, found[0].arms)) + 0.55 * sum(columns) + 1.2
    figure = Figure(figsize=(width, 0.21 * rows + 1.6), layout="constrained")
    axes = figure.subplots(1, len(found), squeeze=False, width_ratios=columns)[0]
    colours = mpl.colormaps["viridis"].with_extremes(bad="#f1f3f5")
    image = None
    for axis, each in zip(axes, found, strict=True):
        image = axis.imshow(each.values, cmap=colours, vmin=0, vmax=1, aspect="auto")
        for (row, column), value in np.ndenumerate(each.values):
            ink = FAINT if np.isnan(value) else "white" if value < DARK else INK
            text = written(float(value)) or "–"
            axis.text(column, row, text, ha="center", va="center", fontsize=6.5, color=ink)
        axis.set_xticks(
            range(len(each.columns)), each.columns, rotation=35, ha="right", rotation_mode="anchor", fontsize=8
        )
        axis.set_yticks(range(rows), each.arms if axis is axes[0] else [""] * rows, fontsize=8)
        axis.tick_params(length=0)
        axis.grid(visible=False)
        axis.spines[:].set_visible(False)
        axis.set_title(each.title)
    assert image is not None
    figure.colorbar(image, ax=list(axes), pad=0.01, aspect=40).set_label(
        "skill (0 or less: order-blind, 1: best possible)"
    )
    return figure


def panel(each: Matrix) -> dict[str, Any]:
    """The interactive figure (see posenc.report.pages.interactive): squares, a trace an arm."""
    traces = []
    for arm, values in zip(each.arms, each.values, strict=True):
        known = [(column, float(value)) for column, value in zip(each.columns, values, strict=True) if value == value]
        traces.append(
            {
                "x": [shown(column) for column, _ in known], "y": [shown(arm)] * len(known),
                "mode": "markers+text",
                "text": [written(value) for _, value in known], "showlegend": False, "name": shown(arm),
                "hovertext": [shown(f"{arm}, {column}: {value:.3f}") for column, value in known],
                "hoverinfo": "text",
                "textfont": {"size": 10, "color": ["#fff" if value < DARK else INK for _, value in known]},
                "marker": {
                    "symbol": "square", "size": 30, "color": [value for _, value in known], "cmin": 0, "cmax": 1,
                    "colorscale": "Viridis",
                },
                "meta": {"arm": arm, "kind": "mean", "values": [value for _, value in known]},
            }
        )  # fmt: skip
    layout = {
        "xaxis": {"side": "top", "showgrid": False},
        "yaxis": {"range": [len(each.arms) - 0.5, -0.5], "showgrid": False},
        "height": 110 + 31 * len(each.arms),
    }  # fmt: skip
    return {"title": each.title, "traces": traces, "layout": layout}
