"""The figures of one analysis: residuals, probes, heads, and the encoding itself."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from posenc.analysis.encoding import Shape, span
from posenc.analysis.findings import findings
from posenc.analysis.measure import Analysis
from posenc.figures.attention import attention_maps
from posenc.figures.attention import heads as draw_heads
from posenc.figures.marks import End, colourbar, dress, end_labels, entitle, heat
from posenc.figures.style import ACCENT, CEILING, COLOURS, INK, SECOND, SHADE, SMALL, WHITE, WIDTH, look

PARTS = {"position": ACCENT, "token": SECOND, "sequence": COLOURS["absolute"][2], "residual": "#c3cad3"}
MAPPED = 64
"""Upper limit of heads whose attention maps are in one figure."""
LETTERED = 96
"""A grid with more cells than this shows no numbers in them."""


@look()
def draw(analysis: Analysis) -> dict[str, Figure]:
    """All figures by name."""
    figures = {"streams": streams(analysis), "probes": probes(analysis), "heads": heads(analysis)}
    if analysis.layers * analysis.heads > 1:
        figures["similarity"] = similarity(analysis)
    if analysis.layers * analysis.heads <= MAPPED:
        figures["attention"] = attention_maps(analysis.weights, "")
    figures |= draw_encoding(analysis.encoding)
    said = findings(analysis)
    for name, figure in figures.items():
        title = f"{said[name]} ({analysis.title})" if name in said else analysis.title
        figure.set_figheight(figure.get_figheight() + entitle(figure, title))
    return figures


def _layers(axis: Axes, title: str, y: str) -> None:
    dress(axis, title, "blocks passed (0: the input)", y)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def streams(analysis: Analysis) -> Figure:
    """Panels by layer: shares of the variance; ratio of Dong and token cosine; effective rank."""
    figure, (left, middle, right) = panels(3, 3.5, 3.0)
    layers = np.arange(analysis.layers + 1)
    bottom = np.zeros(len(layers))
    for part, colour in PARTS.items():
        share = np.clip([*analysis.row("variance_share", part).values()], 0, 1)
        left.bar(layers, share, bottom=bottom, color=colour, width=0.7, label=part)
        bottom += share
    _layers(left, "share of the stream's variance", "")
    left.set_ylim(0, 1.04)
    for quantity, colour, name in (
        ("dong_ratio", ACCENT, "ratio of Dong (0: all tokens equal)"),
        ("token_cosine", SECOND, "token cosine (1: all tokens one way)"),
    ):
        middle.plot(*_row(analysis, quantity, "stream"), color=colour, marker="o", ms=4, lw=1.6, label=name)
    _layers(middle, "how alike the tokens are", "")
    middle.set_ylim(min(0, middle.get_ylim()[0]), 1.02)
    right.plot(*_row(analysis, "effective_rank", "stream"), color=ACCENT, marker="o", ms=4, lw=1.6)
    _layers(right, "effective rank of a sequence", "directions")
    right.set_ylim(bottom=0)
    _legend(figure, left, middle)
    return figure


def _legend(figure: Figure, *axes: Axes) -> None:
    """A legend in one row below all panels."""
    handles = [handle for axis in axes for handle in axis.get_legend_handles_labels()[0]]
    figure.legend(handles=handles, loc="outside lower left", ncols=6, columnspacing=1.2)


def _row(analysis: Analysis, quantity: str, arm: str) -> tuple[list[float], list[float]]:
    row = analysis.row(quantity, arm)
    return [*row], [*row.values()]


def probes(analysis: Analysis) -> Figure:
    """By layer: how well a linear probe and an MLP predict the place of a token."""
    figure, axes = panels(2, 3.9, 3.2)
    for axis, quantity in zip(axes, ("probe_accuracy", "probe_relative_distance"), strict=True):
        for arm, colour, mark in (("linear", ACCENT, "o"), ("mlp", SECOND, "s")):
            name = "linear probe" if arm == "linear" else "MLP probe"
            axis.plot(*_row(analysis, quantity, arm), color=colour, marker=mark, ms=4, lw=1.6, label=name)
        alone = analysis.row(quantity, "linear on tokens alone")[0]
        axis.axhline(alone, color=CEILING, lw=1.2, ls="--", label="linear, on tokens alone")
    axes[0].axhline(1 / analysis.tokens, color=CEILING, lw=1.2, ls=":", label="guessing")
    axes[1].axhline(1, color=CEILING, lw=1.2, ls=":", label="guessing")
    _layers(axes[0], "place of a token: accuracy", "")
    _layers(axes[1], "mean absolute distance / that of guessing", "")
    axes[0].set_ylim(-0.02, 1.04)
    axes[1].set_ylim(bottom=-0.02)
    _legend(figure, axes[0])
    return figure


def heads(analysis: Analysis) -> Figure:
    """Grids of layer and head: entropy, distance relative to uniform attention, sink rate, position in the logits."""
    shown = [*_heads(analysis)]
    size = 0.42 * analysis.heads + 0.9, 0.3 * analysis.layers + 1.1
    figure, axes = panels(len(shown), max(2.7, size[0]), max(1.7, size[1]), columns=3)
    for axis, (title, values, high, cmap) in zip(axes, shown, strict=True):
        grid(axis, values, 0, high, cmap)
        _from_one(axis.yaxis)
        dress(axis, title, "head", "layer")
    return figure


def _heads(analysis: Analysis) -> Iterator[tuple[str, np.ndarray, float, str]]:
    def table(quantity: str) -> np.ndarray:
        rows = [analysis.row(quantity, f"head {head}") for head in range(analysis.heads)]
        return np.array([[row[layer] for row in rows] for layer in analysis.numbers])

    even = np.array([*analysis.row("attention_distance", "uniform").values()])[:, None]
    near = table("attention_distance") / np.where(even > 0, even, 1)
    yield "entropy (1: uniform)", table("attention_entropy"), 1, "viridis"
    yield "distance / uniform", near, max(2.0, float(np.nanmax(near))), "RdBu_r"
    yield "sink rate", table("sink_rate"), 1, "viridis"
    yield "logits: distance alone", table("toeplitzness_relative"), 1, "viridis"
    yield "logits: places alone", table("toeplitzness_absolute"), 1, "viridis"
    if not analysis.no_target:
        yield "mass on the answer", table("target_mass"), 1, "viridis"


def similarity(analysis: Analysis) -> Figure:
    """Mean cosine of attention rows: between layers, and between the heads of each layer."""
    count = analysis.layers + 1 if analysis.heads > 1 else 1
    figure, axes = panels(count, 2.5, 2.4)
    rows = [analysis.row("layer_similarity", f"layer {layer}") for layer in analysis.numbers]
    grid(axes[0], np.array([[*row.values()] for row in rows]), 0, 1, "viridis")
    _from_one(axes[0].xaxis, axes[0].yaxis)
    dress(axes[0], "layers, mean of heads", "layer", "layer")
    for layer, axis in enumerate(axes[1:], start=1):
        grid(axis, _pairs(analysis.pairs_of_heads(layer), analysis.heads), 0, 1, "viridis")
        dress(axis, f"heads of layer {layer}", "head", "head")
    return figure


def _from_one(*axes: Axis) -> None:
    """Number the layers along these axes from 1."""
    for axis in axes:
        axis.set_major_formatter(FuncFormatter(lambda index, _: f"{index + 1:g}"))


def _pairs(pairs: Mapping[tuple[int, int], float], heads: int) -> Float[np.ndarray, "H H"]:
    values = np.eye(heads)
    for (g, h), value in pairs.items():
        values[g, h] = values[h, g] = value
    return values


@look()
def draw_encoding(shape: Shape) -> dict[str, Figure]:
    """The figures for the parts that the encoding has."""
    figures: dict[str, Figure] = {}
    if shape.curves:
        figures["bias"] = bias(shape)
    if shape.usage:
        figures["frequencies"] = frequencies(shape)
    if shape.vectors:
        figures["position_vectors"] = position_vectors(shape)
    return figures


def bias(shape: Shape) -> Figure:
    """The bias against signed distance, with a panel for each layer. The trained distances are shaded."""
    groups, ends = shape.distinct(), []
    figure, axes = panels(len(groups), 4.0 if len(groups) > 1 else 6.0, 2.9, columns=2, share=True)
    for axis, (layers, curve) in zip(axes, groups, strict=True):
        right = min(shape.distance, max(0.0, float(curve.distances.max())))
        axis.axvspan(-shape.distance, right, color=SHADE, lw=0, zorder=0)
        axis.axvline(0, color=CEILING, lw=0.8, zorder=1)
        ends.append(draw_heads(axis, curve.distances.tolist(), curve.logits))
        name = "logit" if axis is axes[0] else ""
        dress(axis, f"bias, {span(layers)}", "distance = key − query (shaded: trained)", name)
    _name(axes, ends)
    return figure


def _name(axes: Sequence[Axes], ends: Sequence[Sequence[End]]) -> None:
    for axis, names in zip(axes, ends, strict=True):
        end_labels(axis, names, 1.9)


def frequencies(shape: Shape) -> Figure:
    """‖q_f‖·‖k_f‖ of each pair against its speed. Pairs with less than a turn over trained distances are shaded."""
    figure, axes = panels(len(shape.usage), 4.0 if len(shape.usage) > 1 else 6.0, 2.9, columns=2, share=True)
    ends = []
    for axis, (layer, found) in zip(axes, shape.usage.items(), strict=True):
        rates = found.rates.clamp(min=1e-12).tolist()
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter("{x:g}")
        low, high = min(rates) / 1.5, max(rates) * 1.5
        slow = 2 * np.pi / max(shape.distance, 1)
        if slow > low:
            axis.axvspan(low, min(slow, high), color=SHADE, lw=0, zorder=0)
        axis.set_xlim(high, low)  # the fastest pair is on the left
        ends.append(draw_heads(axis, rates, found.usage, marker="o", ms=3))
        name = "‖q‖·‖k‖ / √d" if axis is axes[0] else ""
        dress(axis, f"use of frequencies, layer {layer}", "radians a position (shaded: under one turn)", name)
    axes[0].set_ylim(bottom=0)
    _name(axes, ends)
    return figure


def position_vectors(shape: Shape) -> Figure:
    """Cosine of the vectors that `embed` adds, for all pairs of places. Dashed lines mark the end of trained places."""
    figure, axes = panels(len(shape.vectors), 3.6, 3.3)
    image = None
    for axis, layer in zip(axes, shape.vectors, strict=True):
        cosine = shape.cosine(layer)
        image = heat(axis, cosine.numpy(), -1, 1, "RdBu_r")
        if shape.places < len(cosine):
            for line in (axis.axvline, axis.axhline):
                line(shape.places - 0.5, color=INK, lw=0.8, ls="--")
        title = "position vectors" + (f", layer {layer}" if len(shape.vectors) > 1 else "")
        dress(axis, title, "place", "place" if axis is axes[0] else "")
    assert image is not None
    colourbar(image, axes, "cosine", shrink=0.85)
    return figure


def panels(count: int, width: float, height: float, columns: int = 3, share: bool = False) -> tuple[Figure, list[Axes]]:
    """`count` axes with this ratio of width to height, `columns` in a row. share: all have one y-axis."""
    columns = min(columns, count)
    rows, wide = -(-count // columns), min(WIDTH, width * columns)
    figure = Figure(figsize=(wide, height * rows * wide / (width * columns) + 0.3), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, sharey=share).ravel())
    for axis in axes[count:]:
        axis.set_axis_off()
    return figure, axes[:count]


def grid(axis: Axes, values: Float[np.ndarray, "R C"], low: float, high: float, cmap: str) -> None:
    """A heat map. Its cells show their numbers if there are not too many cells."""
    image = heat(axis, values, low, high, cmap, aspect="auto")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    if values.size > LETTERED or values.shape[1] > 8:
        colourbar(image, axis)
        return
    for (row, column), value in np.ndenumerate(values):
        dark = float(np.dot(image.cmap(image.norm(value))[:3], (0.3, 0.6, 0.1))) < 0.5
        axis.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=SMALL, color=WHITE if dark else INK)
