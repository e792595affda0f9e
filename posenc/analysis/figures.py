"""The figures of one analysis: of streams, probes, heads. Those of the encoding are in `encoding_figures`."""

import textwrap
from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from posenc.analysis import encoding_figures
from posenc.analysis.axes import dress, grid, panels
from posenc.analysis.measure import Analysis
from posenc.figures.attention import attention_maps
from posenc.figures.style import ACCENT, INK

SECOND, GREY = "#c0722f", "#8a8a8a"
PARTS = {"position": ACCENT, "token": SECOND, "sequence": "#5b9a68", "residual": "#cccccc"}
MAPPED = 64
"""Heads whose attention maps fit into one figure."""


def draw(analysis: Analysis) -> dict[str, Figure]:
    """All figures by name."""
    figures = {"streams": streams(analysis), "probes": probes(analysis), "heads": heads(analysis)}
    if analysis.layers * analysis.heads > 1:
        figures["similarity"] = similarity(analysis)
    if analysis.layers * analysis.heads <= MAPPED:
        figures["attention"] = attention_maps(analysis.weights)
    figures |= encoding_figures.draw(analysis.encoding)
    for name, figure in figures.items():
        if name != "attention":  # which has a title over every map
            title = textwrap.fill(analysis.title, max(20, int(12 * figure.get_figwidth())))
            figure.suptitle(title, fontsize=9, color=INK, x=0.01, ha="left", parse_math=False)
    return figures


def _layers(axis: Axes, title: str, y: str) -> None:
    dress(axis, title, "blocks passed (0: the input)", y)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def streams(analysis: Analysis) -> Figure:
    """By layer: shares of the variance, ratio of Dong beside token cosine, effective rank."""
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
    """One row below all panels."""
    handles = [handle for axis in axes for handle in axis.get_legend_handles_labels()[0]]
    figure.legend(handles=handles, fontsize=7, frameon=False, loc="outside lower left", ncols=6, columnspacing=1.2)


def _row(analysis: Analysis, quantity: str, arm: str) -> tuple[list[float], list[float]]:
    row = analysis.row(quantity, arm)
    return [*row], [*row.values()]


def probes(analysis: Analysis) -> Figure:
    """By layer: how well a linear probe and an MLP name the place of a token."""
    figure, axes = panels(2, 3.9, 3.2)
    for axis, quantity in zip(axes, ("probe_accuracy", "probe_relative_distance"), strict=True):
        for arm, colour, mark in (("linear", ACCENT, "o"), ("mlp", SECOND, "s")):
            name = "linear probe" if arm == "linear" else "MLP probe"
            axis.plot(*_row(analysis, quantity, arm), color=colour, marker=mark, ms=4, lw=1.6, label=name)
        alone = analysis.row(quantity, "linear on tokens alone")[0]
        axis.axhline(alone, color=GREY, lw=1.2, ls="--", label="linear, on tokens alone")
    axes[0].axhline(1 / analysis.tokens, color=GREY, lw=1.2, ls=":", label="guessing")
    axes[1].axhline(1, color=GREY, lw=1.2, ls=":", label="guessing")
    _layers(axes[0], "place of a token: accuracy", "")
    _layers(axes[1], "mean absolute distance / that of guessing", "")
    axes[0].set_ylim(-0.02, 1.04)
    axes[1].set_ylim(bottom=-0.02)
    _legend(figure, axes[0])
    return figure


def heads(analysis: Analysis) -> Figure:
    """Layer by head: entropy, distance beside the uniform one, sink rate, share of the logits that is position."""
    shown = [*_heads(analysis)]
    size = 0.42 * analysis.heads + 0.9, 0.3 * analysis.layers + 1.1
    figure, axes = panels(len(shown), max(2.7, size[0]), max(1.7, size[1]), columns=3)
    for axis, (title, values, high, cmap) in zip(axes, shown, strict=True):
        grid(axis, values, 0, high, cmap)
        dress(axis, title, "head", "layer")
    return figure


def _heads(analysis: Analysis) -> Iterator[tuple[str, np.ndarray, float, str]]:
    def table(quantity: str) -> np.ndarray:
        rows = [analysis.row(quantity, f"head {head}") for head in range(analysis.heads)]
        return np.array([[row[layer] for row in rows] for layer in range(analysis.layers)])

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
    """Mean cosine of attention rows: of the layers, and of the heads of each layer."""
    count = analysis.layers + 1 if analysis.heads > 1 else 1
    figure, axes = panels(count, 2.5, 2.4)
    rows = [analysis.row("layer_similarity", f"layer {layer}") for layer in range(analysis.layers)]
    grid(axes[0], np.array([[*row.values()] for row in rows]), 0, 1, "viridis")
    dress(axes[0], "layers, mean of heads", "layer", "layer")
    for layer, axis in enumerate(axes[1:]):
        grid(axis, _pairs(analysis.pairs_of_heads(layer), analysis.heads), 0, 1, "viridis")
        dress(axis, f"heads of layer {layer}", "head", "head")
    return figure


def _pairs(pairs: Mapping[tuple[int, int], float], heads: int) -> Float[np.ndarray, "H H"]:
    values = np.eye(heads)
    for (g, h), value in pairs.items():
        values[g, h] = values[h, g] = value
    return values
