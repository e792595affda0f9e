"""The figures of the report in their order, with their texts, their numbers, and the function that draws them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from posenc.figures.marks import End, length_axis
from posenc.report.numbers import headlines, series
from posenc.report.numbers.compare import Comparison, Curves
from posenc.report.numbers.differences import Contrast
from posenc.report.numbers.facets import Facet
from posenc.report.numbers.series import Line
from posenc.report.pages import figures
from posenc.report.pages.matrix import Matrix, matrices
from posenc.report.pages.matrix import draw as draw_matrices

Numbers = dict[str, Any]
"""A row of a figure's table: panel, encoding, kind (mean or seed), seed, x, y, low, high, p_corrected."""


@dataclass(frozen=True)
class Plot:
    """A figure: its name, subject, finding (the text above it), a hint how to read it, its drawing, its numbers."""

    name: str
    title: str
    finding: str
    about: str
    draw: Callable[[str], Figure]
    """A function from the title, which is the finding, to the figure."""
    numbers: Callable[[], Iterator[Numbers]]


def plots(comparison: Comparison) -> list[Plot]:
    """The figures for which there are data."""
    scored, styles = comparison.scored, comparison.styles
    found: list[Plot] = []
    if not scored:
        return found
    if glance := matrices(scored):
        about = (
            "Mean skill over seeds, at the length behind the name of the dataset; the highest mean first. An arm that "
            "lacks a dataset stands below those that have them all."
        )
        said = headlines.of_matrix([each.title for each in glance], glance[0].arms, [each.values for each in glance])
        found.append(
            Plot("matrix", "At a glance", said, about, partial(draw_matrices, glance), partial(_cells, glance))
        )
    about = "A dot is a seed; the black mark their mean, the bar its 95 % interval, cut at what is possible."
    said = headlines.of_seeds(scored, comparison.findings)
    draw = partial(figures.strip, scored, comparison.rows, styles)
    found.append(Plot("seeds", "Every seed", said, about, draw, partial(_seeds, scored)))
    main = [one for one in comparison.contrasts if one.metric != "aulc"]
    if main:
        about = (
            "Arm minus baseline, seed by seed; a diamond is the mean, a bar its 95 % interval, the shade ±"
            f"{comparison.delta:g}; at the right p, corrected for all that this report compares."
        )
        title = f"Paired differences against {comparison.baseline}"
        said = headlines.of_differences(main, comparison.baseline, comparison.delta)
        draw = partial(figures.forest, scored, main, styles, comparison.delta)
        found.append(Plot("differences", title, said, about, draw, partial(_differences, main)))
    for metric in dict.fromkeys(("accuracy", "skill", "bits", *(facet.metric for facet in scored))):
        facets = [facet for facet in scored if series.has_lengths(facet, metric)]
        if facets:
            found.append(_by_length(facets, metric, styles))
    for what, title in (("validation", "Learning curves: validation"), ("training", "Learning curves: training loss")):
        curves = [one for one in comparison.learning if one[0] == what]
        if curves:
            found.append(_learning(what, title, curves, styles))
    if comparison.positions:
        found.append(_positions(comparison))
    return found


def _by_length(facets: list[Facet], metric: str, styles: figures.Styles) -> Plot:
    about = (
        "Mean over seeds with its 95 % interval, cut at what is possible; a small mark is a seed. The trained range is "
        "shaded, what is achievable dotted."
    )
    groups = [series.by_length(facet, metric) for facet in facets]
    pairs = list(zip(facets, groups, strict=True))
    return Plot(
        f"{metric}_by_length", f"{metric.capitalize()} against length", headlines.of_lengths(pairs, metric), about,
        partial(figures.lines, facets, groups, styles, figures.by_length(metric)),
        partial(_points, [(facet.title, group) for facet, group in pairs]),
    )  # fmt: skip


def _learning(what: str, title: str, curves: Sequence[Curves], styles: figures.Styles) -> Plot:
    def decorate(axis: Axes, facet: Facet) -> list[End]:
        axis.set_xlabel("step")
        axis.set_ylabel(next(column for _, column, other, _ in curves if other is facet).replace("/", " "))
        return []

    facets, groups = [one[2] for one in curves], [one[3] for one in curves]
    columns = {column.replace("/", " ") for _, column, _, _ in curves}
    subject = columns.pop().capitalize() if len(columns) == 1 else "Validation"
    lower = what == "training" or subject.endswith("bits")
    about = "A thin line is a seed, a thick one the mean of the seeds."
    return Plot(
        f"learning_{what}", title, headlines.of_curves([*zip(facets, groups, strict=True)], subject, lower), about,
        lambda title: figures.lines(facets, groups, styles, decorate, title, dots=False),
        partial(_points, [(facet.title, group) for facet, group in zip(facets, groups, strict=True)]),
    )  # fmt: skip


def _positions(comparison: Comparison) -> Plot:
    def decorate(axis: Axes, facet: Facet) -> list[End]:
        places = [x for other, _, group in found if other is facet for line in group for x in line.x]
        length_axis(axis, sorted({2.0**k for k in range(32) if min(places) <= 2.0**k <= max(places)} or places), None)
        axis.set_xlim(min(places), max(places))
        axis.set_xlabel("position in the context, from 1")
        axis.set_ylabel("bits (lower is better)")
        return []

    found = comparison.positions
    titles = [f"{facet.title}, length {length}" for facet, length, _ in found]
    groups = [lines for _, _, lines in found]
    about = "Loss in bits at each position of the context, mean of windows and seeds; lower is better."
    said = headlines.of_curves([(facet, lines) for facet, _, lines in found], "Loss at the last positions", True)
    return Plot(
        "bits_by_position", "Loss against the position in the context", said, about,
        lambda title: figures.lines(
            [one[0] for one in found], groups, comparison.styles, decorate, title, titles, dots=False
        ),
        partial(_points, list(zip(titles, groups, strict=True))),
    )  # fmt: skip


def _cells(found: Sequence[Matrix]) -> Iterator[Numbers]:
    for each in found:
        for arm, values in zip(each.arms, each.values, strict=True):
            for column, value in zip(each.columns, values, strict=True):
                if value == value:
                    yield {"panel": each.title, "encoding": arm, "kind": "mean", "x": column, "y": float(value)}


def _points(groups: Sequence[tuple[str, Sequence[Line]]]) -> Iterator[Numbers]:
    for panel, group in groups:
        for line in group:
            for k, (x, y) in enumerate(zip(line.x, line.mean, strict=True)):
                ends = {"low": line.low[k], "high": line.high[k]} if line.low else {}
                yield {"panel": panel, "encoding": line.arm, "kind": "mean", "x": x, "y": y} | ends
            for seed, (xs, ys) in line.seeds.items():
                for x, y in zip(xs, ys, strict=True):
                    yield {"panel": panel, "encoding": line.arm, "kind": "seed", "seed": seed, "x": x, "y": y}


def _seeds(facets: Sequence[Facet]) -> Iterator[Numbers]:
    for facet in facets:
        for arm in facet.arms:
            about = {"panel": facet.title, "encoding": arm, "x": facet.measure}
            if found := facet.interval(arm):
                yield about | {"kind": "mean", "y": found.estimate, "low": found.low, "high": found.high}
            for seed, value in facet.values(arm).items():
                yield about | {"kind": "seed", "seed": seed, "y": value}


def _differences(found: Sequence[Contrast]) -> Iterator[Numbers]:
    for one in found:
        about = {"panel": one.facet.title, "encoding": one.arm, "x": f"minus {one.baseline}"}
        gap = one.difference
        ends = {"low": gap.low, "high": gap.high, "p_corrected": one.corrected}
        yield about | {"kind": "mean", "y": gap.estimate} | ends
        ours, theirs = one.facet.values(one.arm, one.metric), one.facet.values(one.baseline, one.metric)
        for seed in gap.seeds:
            yield about | {"kind": "seed", "seed": seed, "y": ours[seed] - theirs[seed]}
