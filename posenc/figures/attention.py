"""Figures of attention weights, biases and position vectors. Functions take tensors and return a matplotlib Figure."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from posenc.figures.marks import End, colourbar, dress, end_labels, heat, sheet
from posenc.figures.style import CARD, CEILING, DPI, WIDTH, look, shades

MAX_CURVES = 12
"""The largest number of heads whose lines all have names. Of more heads, only the first and the last have one."""


@look()
def attention_maps(weights: Sequence[Float[Tensor, "H N N"]], title: str = "") -> Figure:
    """One heat map of the weights (queries down, keys across) for each layer (row) and head (column)."""
    rows, columns = len(weights), len(weights[0])
    width = min(WIDTH, 2.1 * columns + 1)
    figure, axes = sheet(rows * columns, columns, (width - 0.9) / columns + 0.15, title, width)
    top = max(float(layer.max()) for layer in weights)
    image = None
    for place, axis in enumerate(axes):
        row, column = divmod(place, columns)
        image = heat(axis, weights[row][column].float().cpu().numpy(), 0, top, "magma")
        axis.set_title(f"layer {row + 1} head {column}" if columns <= 4 else f"{row + 1}.{column}", weight="normal")
        if column:
            axis.set_yticklabels([])
        if row < rows - 1:
            axis.set_xticklabels([])
    assert image is not None
    colourbar(image, axes, shrink=0.8)
    figure.supxlabel("key position", fontsize="medium")
    figure.supylabel("query position", fontsize="medium")
    return figure


@look()
def attention_card(weights: Float[Tensor, "H N N"], title: str) -> Figure:
    """The heat maps of one layer, in the size of a picture in TensorBoard."""
    columns = min(4, len(weights), max(2, round(len(weights) ** 0.5)))
    figure, axes = sheet(len(weights), columns, CARD / columns + 0.1, title, CARD)
    for head, axis in enumerate(axes):
        heat(axis, weights[head].float().cpu().numpy(), 0, float(weights.max()), "magma")
        axis.set_title(f"head {head}", weight="normal")
        axis.set(xticks=[], yticks=[])
    figure.supxlabel("key position →", fontsize="medium")
    figure.supylabel("← query position", fontsize="medium")
    figure.set_dpi(DPI)
    return figure


@look()
def bias_profile(table: Float[Tensor, "H M"], distances: Float[Tensor, " M"]) -> Figure:
    """Logit against signed distance, one line for each head."""
    figure, (axis,) = sheet(1, 1, 2.5, width=CARD)
    ends = heads(axis, distances.tolist(), table)
    axis.axvline(0, color=CEILING, lw=0.8, zorder=1)
    dress(axis, "", "distance = key position − query position", "logit")
    end_labels(axis, ends, 1.9)
    figure.set_dpi(DPI)
    return figure


def heads(axis: Axes, x: Sequence[float], rows: Float[Tensor, "H M"], **how: Any) -> list[End]:
    """Draw one line for each head. Returns the right ends of the named lines."""
    values, colours = rows.float().cpu().numpy(), shades(len(rows))
    for row, colour in zip(values, colours, strict=True):
        axis.plot(x, row, color=colour, lw=1.4, **how)
    last = (min if axis.xaxis_inverted() else max)(range(len(x)), key=lambda k: x[k])
    named = [head for head in range(len(rows)) if len(rows) <= MAX_CURVES or head in (0, len(rows) - 1)]
    return [End(x[last], float(values[head][last]), f"head {head}", colours[head]) for head in named]


@look()
def position_similarity(vectors: Float[Tensor, "N D"]) -> Figure:
    """The heat map of `similarity`, in the size of a picture in TensorBoard."""
    figure, (axis,) = sheet(1, 1, 2.9, width=CARD)
    similarity(axis, vectors)
    figure.set_dpi(DPI)
    return figure


def similarity(axis: Axes, vectors: Float[Tensor, "N D"]) -> None:
    """Draw the cosine between any two position vectors."""
    unit = vectors.float() / vectors.float().norm(dim=-1, keepdim=True).clamp(min=1e-12)
    image = heat(axis, (unit @ unit.T).cpu().numpy(), -1, 1, "RdBu_r")
    dress(axis, axis.get_title(loc="left"), "position", "position")
    colourbar(image, axis, "cosine of position vectors")
