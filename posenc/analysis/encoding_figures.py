"""The figures of the encoding itself: bias curves, use of frequencies, similarity of position vectors."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch.nn import functional as F

from posenc.analysis.axes import SHADE, dress, panels
from posenc.analysis.encoding import Shape, span
from posenc.figures.style import INK

LEGEND = 12
"""Heads that a legend names; of more it names the first and the last."""


def draw(shape: Shape) -> dict[str, Figure]:
    """Those figures that the encoding has something for."""
    figures: dict[str, Figure] = {}
    if shape.curves:
        figures["bias"] = bias(shape)
    if shape.usage:
        figures["frequencies"] = frequencies(shape)
    if shape.vectors:
        figures["position_vectors"] = position_vectors(shape)
    return figures


def _lines(axis: Axes, x: Sequence[float], rows: np.ndarray, mark: str = "") -> None:
    heads = len(rows)
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, heads))
    for head, (row, colour) in enumerate(zip(rows, colours, strict=True)):
        named = heads <= LEGEND or head in (0, heads - 1)
        axis.plot(x, row, color=colour, lw=1.4, marker=mark, ms=3, label=f"head {head}" if named else None)


def _legend(figure: Figure, axis: Axes) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=7, frameon=False, loc="outside right upper")


def bias(shape: Shape) -> Figure:
    """What is added to the logits against signed distance, a panel a layer; the trained distances are shaded."""
    groups = shape.distinct()
    figure, axes = panels(len(groups), 4.0 if len(groups) > 1 else 6.0, 2.9, legend=0.9, share=True)
    for axis, (layers, curve) in zip(axes, groups, strict=True):
        right = min(shape.distance, max(0.0, float(curve.distances.max())))
        axis.axvspan(-shape.distance, right, color=SHADE, zorder=0, label="trained")
        axis.axvline(0, color="#bbbbbb", lw=0.8, zorder=1)
        _lines(axis, curve.distances.tolist(), curve.logits.numpy())
        dress(axis, f"bias, {span(layers)}", "distance = key − query", "logit" if axis is axes[0] else "")
    _legend(figure, axes[0])
    return figure


def frequencies(shape: Shape) -> Figure:
    """‖q_f‖·‖k_f‖ of each pair against how fast it turns; shaded: less than a full turn over the trained distances."""
    figure, axes = panels(len(shape.usage), 4.0 if len(shape.usage) > 1 else 6.0, 2.9, legend=0.9, share=True)
    for axis, (layer, found) in zip(axes, shape.usage.items(), strict=True):
        rates = found.rates.clamp(min=1e-12).tolist()
        axis.set_xscale("log")
        _lines(axis, rates, found.usage.numpy(), "o")
        low, high = min(rates) / 1.5, max(rates) * 1.5
        slow = 2 * np.pi / max(shape.distance, 1)
        if slow > low:
            axis.axvspan(low, min(slow, high), color=SHADE, zorder=0, label="under one turn\nin training")
        axis.set_xlim(high, low)  # the fastest left
        dress(
            axis, f"use of frequencies, layer {layer}", "radians a position", "‖q‖·‖k‖ / √d" if axis is axes[0] else ""
        )
    axes[0].set_ylim(bottom=0)
    _legend(figure, axes[0])
    return figure


def position_vectors(shape: Shape) -> Figure:
    """Cosine of the vectors that `embed` adds at every two places; the dashed lines end the trained ones."""
    figure, axes = panels(len(shape.vectors), 3.6, 3.3, legend=0.9)
    image = None
    for axis, (layer, vectors) in zip(axes, shape.vectors.items(), strict=True):
        unit = F.normalize(vectors.float(), dim=-1)
        image = axis.imshow((unit @ unit.T).numpy(), cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
        if shape.places < len(unit):
            for line in (axis.axvline, axis.axhline):
                line(shape.places - 0.5, color=INK, lw=0.8, ls="--")
        title = "position vectors" + (f", layer {layer}" if len(shape.vectors) > 1 else "")
        dress(axis, title, "place", "place" if axis is axes[0] else "")
    assert image is not None
    bar = figure.colorbar(image, ax=axes, shrink=0.85, pad=0.02)
    bar.set_label("cosine", fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=7, colors=INK)
    return figure
