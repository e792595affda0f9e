"""The figures as PNG and SVG. Panels are facets; the legend stands outside, so that sixty arms stay readable."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from posenc.report.numbers.differences import Contrast
from posenc.report.numbers.facets import Facet
from posenc.report.numbers.palette import FAINT, GRID, INK, SHADE, Style
from posenc.report.numbers.rows import Row
from posenc.report.numbers.series import Line
from posenc.report.words import bounds, probability

COLUMNS = 4
FEW = 8
"""Up to so many arms, a panel shows intervals as bands."""
CROWD = 1.8
"""Where there are hundreds of seeds, what lies below this layer is a picture inside the SVG."""
DASH = {"solid": "-", "dash": (0, (5, 2)), "dot": (0, (1.2, 1.6)), "dashdot": (0, (5, 2, 1.2, 2))}
MARKER = {"circle": "o", "square": "s", "diamond": "D", "triangle-up": "^", "triangle-down": "v", "pentagon": "p"}
Styles = dict[str, Style]


@contextmanager
def look() -> Iterator[None]:
    """The type and colours of all figures; names are never read as formulas, and a glyph may be missing."""
    settings: dict[Any, Any] = {
        "font.size": 9, "axes.titlesize": 10, "axes.titlelocation": "left", "axes.titleweight": "bold",
        "axes.labelcolor": INK, "text.color": INK, "xtick.color": FAINT, "ytick.color": FAINT,
        "axes.edgecolor": "#c3cad3",
        "xtick.labelcolor": INK, "ytick.labelcolor": INK, "axes.spines.top": False, "axes.spines.right": False,
        "axes.grid": True, "grid.color": GRID, "grid.linewidth": 0.7, "axes.axisbelow": True, "xtick.major.size": 3,
        "ytick.major.size": 3, "text.parse_math": False, "svg.fonttype": "none", "svg.hashsalt": "posenc",
        "legend.frameon": False, "savefig.facecolor": "white", "axes.titlepad": 8,
    }  # fmt: skip
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        warnings.filterwarnings("ignore", message="constrained_layout not applied")  # many panels with long names
        yield


def _columns(panels: int) -> int:
    return -(-panels // -(-panels // COLUMNS))


def _grid(panels: int, width: float, height: float, legend: float = 0.0) -> tuple[Figure, list[Axes]]:
    columns = _columns(panels)
    rows = -(-panels // columns)
    figure = Figure(figsize=(width * columns + legend + 0.4, height * rows + 0.4), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for axis in axes[panels:]:
        axis.set_axis_off()
    return figure, axes[:panels]


def _safe(name: str) -> str:
    return "\u2009" + name if name.startswith("_") else name  # matplotlib hides labels that begin with _


def _legend(figure: Figure, arms: Sequence[str], styles: Styles) -> None:
    handles = [
        Line2D(
            [], [], color=styles[arm].colour, ls=DASH[styles[arm].dash], marker=MARKER[styles[arm].marker], ms=4,
            lw=1.6, label=_safe(arm),
        )
        for arm in arms
    ]  # fmt: skip
    rows = max(12, int(figure.get_figheight() / 0.21))
    figure.legend(handles=handles, loc="outside right upper", fontsize=8, ncols=-(-len(arms) // rows), handlelength=2.4)


def _legend_width(arms: Sequence[str], height: float) -> float:
    columns = -(-len(arms) // max(12, int(height / 0.21)))
    return columns * (0.75 + 0.068 * max((len(arm) for arm in arms), default=0))


def lines(
    facets: Sequence[Facet],
    series: Sequence[Sequence[Line]],
    styles: Styles,
    decorate: Callable[[Axes, Facet], None],
    titles: Sequence[str] | None = None,
    dots: bool = True,
) -> Figure:
    """One panel a facet: each arm's mean, its interval as a band where there are few, and every seed."""
    drawn = {line.arm for group in series for line in group}
    arms = [arm for arm in styles if arm in drawn]
    columns = _columns(len(facets))
    height = 3.3 * -(-len(facets) // columns)
    figure, axes = _grid(len(facets), 3.5 if len(facets) > 1 else 5.6, 3.3, _legend_width(arms, height))
    crowd = sum(len(line.seeds) for group in series for line in group) > 200
    for index, (axis, facet, group) in enumerate(zip(axes, facets, series, strict=True)):
        few = len(group) <= FEW
        axis.set_rasterization_zorder(CROWD if crowd else None)
        for place, line in enumerate(group):
            style = styles[line.arm]
            shift = 2 ** (0.05 * (place - (len(group) - 1) / 2)) if dots and few else 1.0
            xs = [x * shift for seed, _ in line.seeds.values() for x in (*seed, np.nan)]  # a gap between two seeds
            ys = [y for _, seed in line.seeds.values() for y in (*seed, np.nan)]
            behind = CROWD - 0.1 if crowd else 2
            if dots:
                mark = MARKER[style.marker]
                axis.plot(xs, ys, ls="", marker=mark, ms=2.6, mew=0, alpha=0.45, color=style.colour, zorder=behind)
            elif len(line.seeds) > 1:
                alpha, wide = (0.3, 0.7) if few else (0.13, 0.5)
                axis.plot(xs, ys, color=style.colour, lw=wide, alpha=alpha, zorder=behind)
            ends = [(x, a, b) for x, a, b in zip(line.x, line.low, line.high, strict=False) if a is not None]
            if ends and few:
                xs, lows, highs = zip(*ends, strict=True)
                axis.fill_between(xs, lows, highs, color=style.colour, alpha=0.13, lw=0)
            mark = MARKER[style.marker] if dots else ""
            wide, alpha = (1.7, 1.0) if few else (1.1, 0.85)
            axis.plot(
                line.x, line.mean, color=style.colour, ls=DASH[style.dash], lw=wide, marker=mark, ms=3.6, alpha=alpha
            )
        decorate(axis, facet)
        axis.set_title(titles[index] if titles else facet.title)
    _one_range(axes, [axis.get_ylabel() for axis in axes], "y")
    _legend(figure, arms, styles)
    return figure


def length_axis(axis: Axes, facet: Facet, metric: str) -> None:
    """Lengths on a logarithmic axis, the trained range shaded, the ceilings drawn."""
    lengths = facet.lengths()
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_locator(FixedLocator(lengths if len(lengths) < 8 else lengths[:: -(-len(lengths) // 7)]))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:g}"))
    axis.xaxis.set_minor_locator(NullLocator())
    low, high = min(lengths) / 1.25, max(lengths) * 1.25
    axis.set_xlim(low, high)
    if facet.trained:
        first, last = facet.trained
        axis.axvspan(
            first / 1.12 if first == last else first, last * (1.12 if first == last else 1), color=SHADE, zorder=0
        )
    axis.set_xlabel("test length (shaded: trained)")
    axis.set_ylabel(label(metric))
    if metric == "skill":
        for y in (0, 1):
            axis.axhline(y, color=FAINT, lw=0.9, ls=(0, (1.2, 2)), zorder=1)
    if metric == "accuracy":
        for which, name in ((0, "order-blind ceiling"), (1, "order-aware ceiling")):
            known = [(n, pair[which]) for n, pair in sorted(facet.ceilings.items()) if pair[which] is not None]
            if known:
                xs, ys = zip(*known, strict=True)
                if len(known) == 1:
                    xs, ys = (low, high), (ys[0], ys[0])
                axis.plot(xs, ys, color=FAINT, lw=1.0, ls=(0, (1.2, 2)), zorder=1)
                axis.annotate(
                    name, (xs[-1], ys[-1]), (0, 3), textcoords="offset points", fontsize=7, color=FAINT, ha="right",
                    path_effects=[withStroke(linewidth=2.5, foreground="white")], zorder=4,
                )  # fmt: skip


def label(metric: str) -> str:
    """An axis's words for a metric."""
    words = {"skill": "skill (0: order-blind, 1: best possible)", "bits": "bits (lower is better)"}
    return words.get(metric, metric)


def strip(facets: Sequence[Facet], rows: Sequence[Row], styles: Styles) -> Figure:
    """Every seed as a dot, one line an arm; the mean and its interval on top."""
    figure, axes, orders = _rows(facets, {id(facet): facet.arms for facet in facets}, 2.7 if len(facets) > 1 else 5.2)
    generator = np.random.default_rng(0)
    for axis, facet, (order, labelled) in zip(axes, facets, orders, strict=True):
        place = {arm: index for index, arm in enumerate(order)}
        for row in (row for row in rows if row.facet is facet):
            y, style = place[row.arm], styles[row.arm]
            values = list(facet.values(row.arm).values())
            jitter = generator.uniform(-0.2, 0.2, len(values)) if len(values) > 1 else np.zeros(len(values))
            axis.plot(values, y + jitter, ls="", marker="o", ms=3.4, mew=0, alpha=0.5, color=style.colour)
            found = bounds(row.score)
            if found:
                axis.plot(found, (y, y), color=style.colour, lw=2.0, solid_capstyle="butt")
            if row.score:
                axis.plot([row.score.estimate], [y], marker="|", ms=10, mew=2, color=INK)
        _arm_axis(axis, order, labelled)
        if facet.metric == "skill":
            for x in (0, 1):
                axis.axvline(x, color=FAINT, lw=0.9, ls=(0, (1.2, 2)), zorder=1)
        axis.set_xlabel(f"{facet.measure}" + (" (lower is better)" if facet.lower else ""))
        axis.set_title(facet.title)
    _one_range(axes, [facet.metric for facet in facets], "x")
    return figure


def _one_range(axes: Sequence[Axes], kinds: Sequence[str], which: str) -> None:
    """The same range wherever the same thing is measured."""
    for kind in set(kinds):
        group = [axis for axis, other in zip(axes, kinds, strict=True) if other == kind]
        ends = [axis.get_xlim() if which == "x" else axis.get_ylim() for axis in group]
        for axis in group:
            axis.set(**{f"{which}lim": (min(low for low, _ in ends), max(high for _, high in ends))})


def _rows(
    facets: Sequence[Facet], wanted: Mapping[int, Sequence[str]], width: float
) -> tuple[Figure, list[Axes], list[tuple[list[str], bool]]]:
    """Panels with one line an arm, and each panel's order with whether it is labelled.

    One order for all panels where most arms are in most of them, so that the eye can go across; else each its own.
    """
    everything = [arm for arm in common_order(facets) if any(arm in arms for arms in wanted.values())]
    filled = sum(map(len, wanted.values())) / max(1, len(everything) * len(facets))
    common, columns = filled > 0.7, _columns(len(facets))
    orders = [everything if common else [a for a in everything if a in wanted[id(facet)]] for facet in facets]
    longest = 0.07 * max(map(len, everything), default=1)
    height = 0.225 * max(map(len, orders), default=1) + 1.0
    figure, axes = _grid(len(facets), width + (0 if common else longest), height, longest if common else 0)
    return figure, axes, [(order, not common or k % columns == 0) for k, order in enumerate(orders)]


def _arm_axis(axis: Axes, order: Sequence[str], labelled: bool) -> None:
    axis.set_ylim(len(order) - 0.4, -0.6)
    axis.set_yticks(range(len(order)), [_safe(arm) for arm in order] if labelled else [""] * len(order), fontsize=8)
    axis.xaxis.set_major_locator(MaxNLocator(4))
    axis.tick_params(axis="y", length=0)


def common_order(facets: Sequence[Facet]) -> list[str]:
    """All arms, the highest mean of the facets' means first; behind them those that lack a facet.

    Facets are grouped by what they are measured by, because bits and skill have no common mean: the first group that
    an arm is in decides, skill before bits before accuracy.
    """
    groups = [[facet for facet in facets if facet.metric == metric] for metric in ("skill", "bits", "accuracy")]
    groups = [group for group in groups if group]

    def rank(arm: str) -> tuple[float, ...]:
        found: list[float] = []
        for group in groups:
            values = [facet.values(arm) for facet in group]
            means = [fmean(each.values()) for each in values if each]
            sign = 1 if group[0].lower else -1
            found += [len(group) - len(means), sign * fmean(means) if means else 0.0]
        return tuple(found)

    arms = dict.fromkeys(arm for facet in facets for arm in facet.arms)
    ranks = {arm: rank(arm) for arm in arms}
    return sorted(arms, key=lambda arm: (ranks[arm], arm))


def forest(facets: Sequence[Facet], found: Sequence[Contrast], styles: Styles, delta: float) -> Figure:
    """Paired differences with their intervals; ±δ shaded; the corrected p at the right."""
    shown = [facet for facet in facets if any(one.facet is facet for one in found)]
    wanted = {id(facet): [one.arm for one in found if one.facet is facet] for facet in shown}
    figure, axes, orders = _rows(shown, wanted, 3.1 if len(shown) > 1 else 5.6)
    for axis, facet, (order, labelled) in zip(axes, shown, orders, strict=True):
        place = {arm: index for index, arm in enumerate(order)}
        mine = [one for one in found if one.facet is facet]
        axis.axvspan(-delta, delta, color=SHADE, zorder=0)
        axis.axvline(0, color=FAINT, lw=1.0, zorder=1)
        for one in mine:
            y, style = place[one.arm], styles[one.arm]
            ours, theirs = facet.values(one.arm, one.metric), facet.values(one.baseline, one.metric)
            gaps = [ours[seed] - theirs[seed] for seed in one.difference.seeds]
            axis.plot(gaps, [y + 0.28] * len(gaps), ls="", marker="o", ms=2.8, mew=0, alpha=0.5, color=style.colour)
            ends = bounds(one.difference)
            if ends:
                axis.plot(ends, (y, y), color=style.colour, lw=1.8)
            axis.plot([one.difference.estimate], [y], marker="D", ms=4.5, mew=0, color=style.colour)
            axis.annotate(
                probability(one.corrected), (1.0, y), (4, 0), xycoords=("axes fraction", "data"), va="center",
                fontsize=7, textcoords="offset points", color=INK if (one.corrected or 1) < 0.05 else FAINT,
            )  # fmt: skip
        _arm_axis(axis, order, labelled)
        against = sorted({one.baseline for one in mine})
        named = against[0] if len(against) == 1 else "the baseline in the same setting"
        axis.set_xlabel(f"{mine[0].metric} minus that of {named}" + (" (left is better)" if mine[0].pair.lower else ""))
        axis.set_title(facet.title)
        axis.annotate(
            "p (corrected)" if any(one.corrected is not None for one in mine) else "",
            (1.0, 1.0),
            (4, 2),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=7,
            color=FAINT,
        )
    return figure
