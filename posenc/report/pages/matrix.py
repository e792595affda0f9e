"""A matrix of mean skill: every encoding on every dataset, at the trained length and at the longest length."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from posenc.figures.marks import entitle, shown, tip
from posenc.figures.style import FAINT, INK, SMALL, WHITE, WIDTH
from posenc.report.numbers.facets import Facet, common_order

FEWEST = 3
"""The lowest number of datasets, and of arms, for which a matrix is drawn. With fewer, the other figures show more."""
DARK_BELOW = 0.6
"""Below this skill a cell of viridis is dark, so that its digits are white."""
MOST = 18
"""Upper limit of columns beside each other, so that their digits fit."""


@dataclass(frozen=True)
class Matrix:
    """Mean skill over seeds. Rows are arms, the highest mean first; columns are facets; NaN: no skill."""

    title: str
    arms: list[str]
    columns: list[str]
    values: np.ndarray


def matrices(facets: Sequence[Facet]) -> list[Matrix]:
    """One matrix at the trained length of each dataset, and one at the longest test length, if it is longer.

    The list is empty if there are too few datasets or arms.
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
    """Skill with two digits, without the zero before the point."""
    if np.isnan(value):
        return ""
    text = f"{value:.2f}".replace("0.", ".", 1).replace("-", "−")
    return {".00": "0", "−.00": "0", "1.00": "1"}.get(text, text)


def draw(found: Sequence[Matrix], title: str) -> Figure:
    """The matrices beside each other."""
    rows, columns = len(found[0].arms), [len(each.columns) for each in found]
    wide = sum(columns) > MOST  # then the matrices are below each other
    figure = Figure(figsize=(WIDTH, 1), layout="constrained")
    shape = (len(found), 1) if wide else (1, len(found))
    widths = None if wide else {"width_ratios": columns}
    axes = figure.subplots(*shape, squeeze=False, gridspec_kw=widths).ravel()
    colours = mpl.colormaps["viridis"].with_extremes(bad="none")
    image = None
    for axis, each in zip(axes, found, strict=True):
        image = axis.imshow(each.values, cmap=colours, vmin=0, vmax=1, aspect="auto")
        for (row, column), value in np.ndenumerate(each.values):
            ink = FAINT if np.isnan(value) else WHITE if value < DARK_BELOW else "#101418"
            text = written(float(value)) or "–"
            axis.text(column, row, text, ha="center", va="center", fontsize=SMALL, color=ink, gid=tip(each.arms[row]))
        names = [shown(column) for column in each.columns]
        axis.set_xticks(range(len(names)), names, rotation=35, ha="right", rotation_mode="anchor")
        axis.set_yticks(range(rows), [shown(arm) if wide or axis is axes[0] else "" for arm in each.arms])
        axis.tick_params(length=0)
        axis.grid(visible=False)
        axis.spines[:].set_visible(False)
        axis.set_title(each.title)
    assert image is not None
    bar = figure.colorbar(image, ax=list(axes), pad=0.01, aspect=40)
    bar.set_label("skill (0 or less: order-blind, 1: best)", color=INK)
    bar.outline.set_visible(False)
    longest = max(len(column) for each in found for column in each.columns)
    height = (0.165 * rows + 0.5 + 0.04 * longest) * shape[0]
    figure.set_figheight(height + entitle(figure, title))
    return figure
