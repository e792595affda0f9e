"""The figures of the report, in their order, each with its words and how it is drawn."""

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from posenc.report.numbers import series
from posenc.report.numbers.compare import Comparison
from posenc.report.numbers.facets import Facet
from posenc.report.pages import figures as static
from posenc.report.pages.matrix import draw as draw_matrices
from posenc.report.pages.matrix import matrices


@dataclass(frozen=True)
class Plot:
    """A figure: its name, words, and how it is drawn."""

    name: str
    title: str
    about: str
    draw: Callable[[], Figure]


def plots(comparison: Comparison) -> list[Plot]:
    """The figures for which there are data."""
    found: list[Plot] = []
    scored, styles = comparison.scored, comparison.styles

    def add(name: str, title: str, about: str, draw: Callable[[], Figure]) -> None:
        found.append(Plot(name, title, about, draw))

    if not scored:
        return found
    if glance := matrices(scored):
        about = (
            "Mean skill over seeds, at the length behind the name of the dataset; the highest mean first. An arm that "
            "lacks a dataset stands below those that have them all."
        )
        add("matrix", "At a glance", about, lambda: draw_matrices(glance))
    about = "A dot is a seed; the mark its mean, the bar its 95 % interval."
    add("seeds", "Every seed", about, lambda: static.strip(scored, comparison.rows, styles))
    main = [one for one in comparison.contrasts if one.metric != "aulc"]
    if main:
        about = (
            "Arm minus baseline, seed by seed; a diamond is the mean, a bar its 95 % interval, the shade ±"
            f"{comparison.delta:g}; at the right p, corrected for all that this report compares."
        )
        title = f"Paired differences against {comparison.baseline}"
        add("differences", title, about, lambda: static.forest(scored, main, styles, comparison.delta))
    about = "Mean and 95 % interval over seeds, a dot is a seed; the trained range is shaded, ceilings are dotted."
    for metric in ("accuracy", "skill", "bits"):
        facets = [facet for facet in scored if series.has_lengths(facet, metric)]
        if facets:
            draw = _by_length(facets, metric, styles)
            add(f"{metric}_by_length", f"{metric.capitalize()} against length", about, draw)
    about = "A thin line is a seed, a thick one the mean of the seeds."
    for what, title in (("validation", "Learning curves: validation"), ("training", "Learning curves: training loss")):
        curves = [one for one in comparison.learning if one[0] == what]
        if curves:
            add(f"learning_{what}", title, about, _learning(curves, styles))
    if comparison.positions:
        about = "Loss in bits at each position of the context, mean of windows and seeds; lower is better."
        add("bits_by_position", "Loss against the position in the context", about, _positions(comparison))
    return found


def _by_length(facets: list[Facet], metric: str, styles: static.Styles) -> Callable[[], Figure]:
    groups = [series.by_length(facet, metric) for facet in facets]
    return lambda: static.lines(facets, groups, styles, lambda axis, facet: static.length_axis(axis, facet, metric))


def _learning(curves: list, styles: static.Styles) -> Callable[[], Figure]:
    def decorate(axis: Axes, facet: Facet) -> None:
        axis.set_xlabel("step")
        axis.set_ylabel(next(column for _, column, other, _ in curves if other is facet).replace("/", " "))

    return lambda: static.lines([one[2] for one in curves], [one[3] for one in curves], styles, decorate, dots=False)


def _positions(comparison: Comparison) -> Callable[[], Figure]:
    def decorate(axis: Axes, facet: Facet) -> None:
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.set_xlabel("position in the context (the first is 1)")
        axis.set_ylabel("bits (lower is better)")

    found = comparison.positions
    titles = [f"{facet.title}, length {length}" for facet, length, _ in found]
    groups = [lines for _, _, lines in found]
    return lambda: static.lines([one[0] for one in found], groups, comparison.styles, decorate, titles, dots=False)
