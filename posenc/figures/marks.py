"""Parts of all figures: panels, labels at the ends of lines, length axes, ceilings, rows of arms."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from posenc.figures.style import CEILING, FAINT, INK, SHADE, SMALL, TITLE, WIDTH
from posenc.figures.vectors import TIP

DOTTED = (0, (1.2, 2))
LETTERS = 104
"""Characters in one line of a title that is `WIDTH` wide."""


class End(NamedTuple):
    """The end of a line, and the text and colour of its label."""

    x: float
    y: float
    text: str
    colour: str


def sheet(panels: int, columns: int, height: float, title: str = "", width: float = WIDTH) -> tuple[Figure, list[Axes]]:
    """A figure of `panels` panels, with `columns` in a row, each `height` inches high, under a title."""
    columns = max(1, min(columns, panels))
    rows = -(-panels // columns)
    figure = Figure(figsize=(width, 1), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for axis in axes[panels:]:
        axis.set_axis_off()
    figure.set_figheight(height * rows + entitle(figure, title))
    return figure, axes[:panels]


def entitle(figure: Figure, title: str) -> float:
    """Write the title above all panels. Returns its height in inches."""
    if not title:
        return 0.0
    lines = textwrap.wrap(title, int(LETTERS * figure.get_figwidth() / WIDTH))
    figure.suptitle("\n".join(lines), x=0.008, ha="left", fontsize=TITLE, color=INK, weight="bold")
    return 0.19 * len(lines)


def shown(name: str) -> str:
    """A name as a label. A thin space precedes _, since matplotlib hides labels that begin with _."""
    return "\u2009" + name if name.startswith("_") else name


def tip(name: str, *lines: str) -> str:
    """The gid of an artist that belongs to `name` and has these lines as its tooltip."""
    return TIP + "\n".join((name, *lines))


def end_labels(axis: Axes, ends: Sequence[End], height: float) -> None:
    """Write labels right of the axes, without overlap, as near to the ends of their lines as possible.

    height  approximate height of the axes in inches, from which the distance of two labels follows
    """
    if not ends:
        return
    gap = SMALL * 1.22 / 72 / height
    axis.autoscale_view()  # sets the limits according to the lines
    where = (axis.transScale + axis.transLimits).transform([(end.x, end.y) for end in ends])
    order = np.argsort(where[:, 1], kind="stable")
    lines = np.array([1 + ends[k].text.count("\n") for k in order])
    gaps = gap * (lines[:-1] + lines[1:]) / 2  # a label is centred at its place
    for k, place in zip(order, spread(np.clip(where[order, 1], 0, 1), gaps), strict=True):
        end, moved = ends[k], abs(place - where[k, 1]) > gap / 2 or where[k, 0] < 0.85
        line = {"arrowstyle": "-", "color": end.colour, "lw": 0.5, "shrinkA": 1, "shrinkB": 2, "relpos": (0, 0.5)}
        axis.annotate(
            shown(end.text), np.clip(where[k], 0, 1).tolist(), (1.03, place), xycoords="axes fraction", va="center",
            textcoords="axes fraction", fontsize=SMALL, color=end.colour, arrowprops=line if moved else None,
            annotation_clip=False, gid=tip(end.text),
        )  # fmt: skip


def name_lines(axis: Axes, height: float = 2.2) -> None:
    """Write the label of each line at its end; `height` as in `end_labels`."""
    ends: list[End] = []
    for line in axis.lines:
        points = np.column_stack([np.asarray(values, dtype=float) for values in line.get_data()])
        points = points[np.isfinite(points).all(axis=1)]
        if len(points) and not str(line.get_label()).startswith("_"):
            x, y = points[-1].tolist()
            ends.append(End(x, y, str(line.get_label()), to_hex(line.get_color())))
    end_labels(axis, ends, height)


def power(exponent: float) -> str:
    """A power of ten as text, because figures do not parse formulas."""
    return "10" + f"{exponent:g}".translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def spread(places: np.ndarray, gaps: float | np.ndarray) -> np.ndarray:
    """The places in [0, 1], nearest to `places` in least squares, that keep their order and are at least `gaps` apart.

    gaps  one number, or one for each pair of neighbours

    This is an isotonic regression of the places minus the sums of gaps; clipping it solves the bounded problem (Barlow
    et al. 1972). If [0, 1] has no room for all places, the last are above 1.
    """
    from scipy.optimize import isotonic_regression  # a late import, because it takes half a second

    steps = np.concatenate([[0.0], np.cumsum(np.broadcast_to(gaps, len(places) - 1))])
    return np.clip(isotonic_regression(places - steps).x, 0, max(0.0, 1 - steps[-1])) + steps


def length_axis(
    axis: Axes, lengths: Sequence[float], trained: tuple[float, float] | None, name: str = "length"
) -> None:
    """Set up a logarithmic axis of lengths with the trained range shaded."""
    low, high = min(lengths), max(lengths)
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_locator(FixedLocator(_apart(lengths)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:g}"))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlim(low / 1.12, high * 1.08)
    axis.grid(visible=False, axis="x")
    axis.set_xlabel(f"{name} (shaded: trained)" if trained else name)
    if trained:
        first, last = trained
        axis.axvspan(max(first / 1.06, low / 1.12), last * 1.06, color=SHADE, lw=0, zorder=0)


def _apart(lengths: Sequence[float]) -> list[float]:
    """The lengths whose labels fit on the axis: two labels are at least a tenth of the axis apart."""
    room = np.log2(max(lengths) / min(lengths)) / 10
    shown: list[float] = []
    for length in lengths:
        if not shown or np.log2(length / shown[-1]) >= room:
            shown.append(length)
    return shown


def level(axis: Axes, values: Iterable[float], which: str = "y") -> None:
    """Draw dotted lines across the axes, for ceilings or references."""
    for value in values:
        draw = axis.axhline if which == "y" else axis.axvline
        draw(value, color=CEILING, lw=0.9, ls=DOTTED, zorder=1)


def ceiling(axis: Axes, points: Sequence[tuple[float, float]], name: str) -> End:
    """Draw a ceiling, given as (length, value). Returns its end for `end_labels`."""
    xs, ys = zip(*sorted(points), strict=True)
    axis.plot(xs, ys, color=CEILING, lw=1.0, ls=DOTTED, zorder=1, gid=tip(name))
    return End(xs[-1], ys[-1], name, CEILING)


def one_range(axes: Sequence[Axes], kinds: Sequence[str], which: str) -> None:
    """Give all axes of one kind the same range."""
    for kind in set(kinds):
        group = [axis for axis, other in zip(axes, kinds, strict=True) if other == kind]
        ends = [axis.get_xlim() if which == "x" else axis.get_ylim() for axis in group]
        for axis in group:
            axis.set(**{f"{which}lim": (min(low for low, _ in ends), max(high for _, high in ends))})


def row_axis(axis: Axes, names: Sequence[str], labelled: bool = True) -> None:
    """Set up one row for each name, from the top."""
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_yticks(range(len(names)), [shown(name) if labelled else "" for name in names])
    axis.xaxis.set_major_locator(MaxNLocator(4))
    axis.tick_params(axis="y", length=0)


def dress(axis: Axes, title: str, x: str, y: str = "") -> None:
    """Set the title and the labels of the axes."""
    axis.set_title(title)
    axis.set_xlabel(x)
    axis.set_ylabel(y)


def heat(axis: Axes, values: np.ndarray, low: float, high: float, cmap: str = "viridis", **how: Any) -> AxesImage:
    """Draw a heat map without grid and frame."""
    image = axis.imshow(values, cmap=cmap, vmin=low, vmax=high, interpolation="nearest", **how)
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)
    return image


def colourbar(image: AxesImage, axes: Axes | Sequence[Axes], name: str = "", **how: Any) -> None:
    """Draw the colour bar of a heat map."""
    figure = image.get_figure(root=True)
    assert isinstance(figure, Figure)
    bar = figure.colorbar(image, ax=axes, pad=0.02, **how)
    bar.set_label(name)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]


def note(axis: Axes, text: str, colour: str = FAINT) -> None:
    """Write a text in the lower right corner."""
    axis.annotate(
        text, (1, 0), (-2, 3), xycoords="axes fraction", textcoords="offset points", fontsize=SMALL, color=colour,
        ha="right", va="bottom",
    )  # fmt: skip
