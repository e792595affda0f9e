"""The figures of the report. Each is drawn once for PNG, SVG and page. Each panel is a facet."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from posenc.figures.marks import End, ceiling, end_labels, length_axis, level, note, one_range, row_axis, sheet, tip
from posenc.figures.style import FAINT, INK, QUIET, SHADE, SMALL, WIDTH, Style
from posenc.report.numbers.differences import Contrast
from posenc.report.numbers.facets import Facet, clipped, common_order
from posenc.report.numbers.rows import Row
from posenc.report.numbers.series import Line
from posenc.report.words import bounds, estimate, fixed, probability, signed, span

BANDS = 4
"""The largest number of arms in front whose intervals are bands. With more arms they are bars."""
CROWD = 1_500
"""If there are more points of seeds than this, the SVG contains them as a picture."""
BEHIND = 1.8
SAID = 20
"""Upper limit of seeds that the text under the pointer names."""
HEIGHT = 2.5
LOWEST = -0.35
"""Lines are cut below this skill. Lower values mean the same to a reader, and they would flatten the other lines."""
Styles = Mapping[str, Style]
Decorate = Callable[[Axes, Facet], list[End]]
"""A function that draws on the axes of a facet and returns the names to write at the ends of lines."""


def lines(
    facets: Sequence[Facet], series: Sequence[Sequence[Line]], styles: Styles, decorate: Decorate, title: str,
    titles: Sequence[str] | None = None, dots: bool = True,
) -> Figure:  # fmt: skip
    """One panel for each facet: the mean of each arm with its name at the end, its interval, and every seed."""
    columns = 1 if len(facets) == 1 else 2
    height = HEIGHT if columns == 2 else 3.4
    figure, axes = sheet(len(facets), columns, height, title)
    named = [line for group in series for line in group if not styles[line.arm].quiet]
    crowd = sum(len(xs) for line in named for xs, _ in line.seeds.values()) > (CROWD if dots else 20 * CROWD)
    ends: list[list[End]] = []
    for index, (axis, facet, group) in enumerate(zip(axes, facets, series, strict=True)):
        axis.set_rasterization_zorder(BEHIND + 0.05 if crowd else None)
        front = [line for line in group if not styles[line.arm].quiet]
        for line in group:
            _curve(axis, line, styles[line.arm], dots, len(front) <= BANDS)
        ends.append(decorate(axis, facet) + _ends(group, styles))
        axis.set_title(titles[index] if titles else facet.title)
        if len(group) > len(front):
            note(axis, f"grey: {len(group) - len(front)} other encodings")
    one_range(axes, [axis.get_ylabel() for axis in axes], "y")
    for index, (axis, names) in enumerate(zip(axes, ends, strict=True)):
        if index % columns:
            axis.set_ylabel("")
        if index < len(axes) - columns:
            axis.set_xlabel("")
        end_labels(axis, names, height - 0.75)
    return figure


def _ends(group: Sequence[Line], styles: Styles) -> list[End]:
    """Names of the arms in front, and of the highest and lowest line at the end, also if it is grey."""
    drawn = [line for line in group if line.x]
    named = [line for line in drawn if not styles[line.arm].quiet]
    quiet = [line for line in drawn if styles[line.arm].quiet]
    if quiet:
        named.append(max(quiet, key=lambda line: line.mean[-1]))
    return [End(line.x[-1], line.mean[-1], line.arm, _ink(styles[line.arm])) for line in named]


def _ink(style: Style) -> str:
    return FAINT if style.quiet else style.colour


def _curve(axis: Axes, line: Line, style: Style, dots: bool, band: bool) -> None:
    said = tip(line.arm, *_points(line))
    if style.quiet:
        axis.plot(line.x, line.mean, color=QUIET, lw=0.7, alpha=0.6, zorder=BEHIND, gid=said)
        return
    if dots:
        xs, ys = ([value for seed in line.seeds.values() for value in seed[k]] for k in (0, 1))
        axis.plot(
            xs, ys, ls="", marker=style.marker, ms=2.6, mew=0, alpha=0.4, color=style.colour, zorder=BEHIND,
            gid=tip(line.arm, f"seeds {', '.join(map(str, line.seeds))}"),
        )  # fmt: skip
    elif len(line.seeds) > 1:
        xs, ys = ([value for seed in line.seeds.values() for value in (*seed[k], np.nan)] for k in (0, 1))
        axis.plot(xs, ys, color=style.colour, lw=0.6, alpha=0.3, zorder=BEHIND, gid=tip(line.arm))
    known = [(x, a, b) for x, a, b in zip(line.x, line.low, line.high, strict=False) if a is not None]
    if known and band:
        xs, lows, highs = zip(*known, strict=True)
        axis.fill_between(xs, lows, highs, color=style.colour, alpha=0.14, lw=0, gid=tip(line.arm))
    elif known:
        xs, lows, highs = zip(*known, strict=True)
        axis.vlines(xs, lows, highs, color=style.colour, lw=0.9, alpha=0.6, gid=tip(line.arm))
    marker = style.marker if dots else ""
    axis.plot(line.x, line.mean, color=style.colour, ls=style.dash, marker=marker, mec="none", gid=said)


def _points(line: Line) -> list[str]:
    """A line of text for each point, if there are few points."""
    if len(line.x) > 12:
        return []
    ends = zip(line.x, line.mean, line.low or [None] * len(line.x), line.high or [None] * len(line.x), strict=True)
    return [f"{x:g}: {fixed(y)}" + (f" [{fixed(a)}, {fixed(b)}]" if a is not None else "") for x, y, a, b in ends]


def by_length(metric: str) -> Decorate:
    """The function that draws lengths, the range of trained lengths and the ceilings."""

    def decorate(axis: Axes, facet: Facet) -> list[End]:
        length_axis(axis, facet.lengths(), facet.trained, "test length")
        axis.set_ylabel(label(metric))
        ends: list[End] = []
        if metric == "skill":
            level(axis, (0, 1))
            axis.set_ylim(max(LOWEST, axis.get_ylim()[0]), 1.06)
        for which, name in ((0, "order-blind ceiling"), (1, "order-aware ceiling")) if metric == "accuracy" else ():
            known = [(n, value) for n, pair in facet.ceilings.items() if (value := pair[which]) is not None]
            ends += [ceiling(axis, known, name)] if known else []
        return ends

    return decorate


def label(metric: str) -> str:
    """The label of an axis for a metric."""
    words = {"skill": "skill (0: order-blind, 1: best)", "bits": "bits (lower is better)"}
    return words.get(metric, metric)


def strip(facets: Sequence[Facet], rows: Sequence[Row], styles: Styles, title: str) -> Figure:
    """Every seed as a dot, with a row for each arm; the mean and its interval are drawn over them."""
    figure, axes, orders = _rows(facets, {id(facet): facet.arms for facet in facets}, title)
    crowd = sum(row.seeds for row in rows) > CROWD
    for axis, facet, (order, labelled) in zip(axes, facets, orders, strict=True):
        place = {arm: index for index, arm in enumerate(order)}
        axis.set_rasterization_zorder(BEHIND + 0.05 if crowd else None)
        for row in (row for row in rows if row.facet is facet):
            y, style = place[row.arm], styles[row.arm]
            values = facet.values(row.arm)
            each = [f"seed {seed}: {fixed(value, 4)}" for seed, value in values.items()]
            said = tip(row.arm, f"{facet.title}: {estimate(row.score)}", *each[: 0 if style.quiet else SAID])
            axis.plot(
                [*values.values()], y + _stack(len(values)), ls="", marker=style.marker, ms=3 if len(values) > 1 else 4,
                mew=0, alpha=0.5 if len(values) > 1 else 1, color=style.colour, zorder=BEHIND, gid=said,
            )  # fmt: skip
            if ends := bounds(row.score):
                axis.plot(ends, (y, y), color=style.colour, lw=2.0, solid_capstyle="butt", gid=tip(row.arm))
            if row.score and row.seeds > 1:
                axis.plot([row.score.estimate], [y], marker="|", ms=8, mew=1.6, color=INK, gid=tip(row.arm))
        row_axis(axis, order, labelled)
        if facet.metric == "skill":
            level(axis, (0, 1), "x")
        axis.set_xlabel(facet.measure + (" (lower is better)" if facet.lower else ""))
        axis.set_title(facet.title)
    one_range(axes, [facet.metric for facet in facets], "x")
    return figure


def _stack(count: int) -> np.ndarray:
    """The heights of `count` dots in a row. They are always the same, so that a reader finds a dot again."""
    return 0.11 * ((np.arange(count) % 5) - 2) if count > 1 else np.zeros(count)


def _rows(
    facets: Sequence[Facet], wanted: Mapping[int, Sequence[str]], title: str, most: int = 3
) -> tuple[Figure, list[Axes], list[tuple[list[str], bool]]]:
    """Panels with one row for each arm, and for each panel the order of arms and whether it has labels.

    If most arms are in most panels, all panels have the same order, so that rows can be compared. Otherwise each panel
    has its own order.
    """
    everything = [arm for arm in common_order(facets) if any(arm in arms for arms in wanted.values())]
    filled = sum(map(len, wanted.values())) / max(1, len(everything) * len(facets))
    longest = max(map(len, everything), default=1) * 0.058
    common = filled > 0.7
    room = WIDTH - longest if common else WIDTH
    columns = max(1, min(most, len(facets), int(room / (1.7 if common else 1.7 + longest))))
    orders = [everything if common else [a for a in everything if a in wanted[id(facet)]] for facet in facets]
    height = 0.155 * max(map(len, orders), default=1) + 0.75
    figure, axes = sheet(len(facets), columns, height, title)
    return figure, axes, [(order, not common or k % columns == 0) for k, order in enumerate(orders)]


def forest(facets: Sequence[Facet], found: Sequence[Contrast], styles: Styles, delta: float, title: str) -> Figure:
    """Paired differences with their intervals. ±δ is shaded; the corrected p is on the right."""
    shown = [facet for facet in facets if any(one.facet is facet for one in found)]
    wanted = {id(facet): [one.arm for one in found if one.facet is facet] for facet in shown}
    known = any(one.corrected is not None for one in found)
    figure, axes, orders = _rows(shown, wanted, title, 2 if known else 3)
    for axis, facet, (order, labelled) in zip(axes, shown, orders, strict=True):
        place = {arm: index for index, arm in enumerate(order)}
        mine = [one for one in found if one.facet is facet]
        axis.axvspan(-delta, delta, color=SHADE, lw=0, zorder=0)
        axis.axvline(0, color=FAINT, lw=0.9, zorder=1)
        for one in mine:
            _difference(axis, one, place[one.arm], styles[one.arm])
        row_axis(axis, order, labelled)
        against = sorted({one.baseline for one in mine})
        named = against[0] if len(against) == 1 else "its baseline"
        axis.set_xlabel(f"{mine[0].metric} − {named}" + (" (left is better)" if mine[0].pair.lower else ""))
        axis.set_title(facet.title)
        if any(one.corrected is not None for one in mine):
            axis.annotate("p (corrected)", (1, 1), (4, 2), xycoords="axes fraction", textcoords="offset points",
                          fontsize=SMALL, color=FAINT)  # fmt: skip
    return figure


def _difference(axis: Axes, one: Contrast, y: float, style: Style) -> None:
    ours, theirs = (one.facet.values(arm, one.metric) for arm in (one.arm, one.baseline))
    gaps = {seed: ours[seed] - theirs[seed] for seed in one.difference.seeds}
    reach = one.facet.reach(one.metric)
    possible = clipped(one.difference, (None if reach is None else -reach, reach))
    said = tip(
        one.arm, f"minus {one.baseline}: {signed(possible.estimate)} {span(possible, sign=True)}",
        *(f"seed {seed}: {signed(gap, 4)}" for seed, gap in list(gaps.items())[: 0 if style.quiet else SAID]),
    )  # fmt: skip
    if len(gaps) > 1:
        axis.plot([*gaps.values()], [y + 0.3] * len(gaps), ls="", marker=style.marker, ms=2.4, mew=0, alpha=0.5,
                  color=style.colour, gid=tip(one.arm))  # fmt: skip
    if ends := bounds(possible):
        axis.plot(ends, (y, y), color=style.colour, lw=1.8, gid=said)
    axis.plot([possible.estimate], [y], marker="D", ms=4, mew=0, color=style.colour, gid=said)
    axis.annotate(
        probability(one.corrected), (1.0, y), (4, 0), xycoords=("axes fraction", "data"), va="center",
        fontsize=SMALL, textcoords="offset points", color=INK if (one.corrected or 1) < 0.05 else FAINT,
    )  # fmt: skip
