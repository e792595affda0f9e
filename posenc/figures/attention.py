"""Figures of what attention and an encoding do. Tensors in, a matplotlib Figure out; nothing is global."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from posenc.figures.style import INK


def attention_maps(weights: Sequence[Float[Tensor, "H N N"]]) -> Figure:
    """One map for each layer (row) and head (column): how much each query (down) attends to each key (across)."""
    rows, columns = len(weights), len(weights[0])
    figure = Figure(figsize=(1.9 * columns + 0.9, 1.9 * rows + 0.7), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    top = max(float(layer.max()) for layer in weights)
    image = None
    for row, layer in enumerate(weights):
        for column, head in enumerate(layer):
            axis = axes[row][column]
            image = axis.imshow(head.float().cpu().numpy(), cmap="magma", vmin=0, vmax=top, interpolation="nearest")
            axis.set_title(f"layer {row} head {column}", fontsize=8, color=INK)
            axis.tick_params(labelsize=6, colors=INK, length=2)
            if column:
                axis.set_yticklabels([])
            if row < rows - 1:
                axis.set_xticklabels([])
    assert image is not None
    figure.colorbar(image, ax=axes, shrink=0.8, pad=0.01).ax.tick_params(labelsize=6, colors=INK)
    figure.supxlabel("key position", fontsize=8, color=INK)
    figure.supylabel("query position", fontsize=8, color=INK)
    return figure


def bias_profile(table: Float[Tensor, "H M"], distances: Float[Tensor, " M"], trained: float | None = None) -> Figure:
    """Logit against signed distance, one line a head; the distances that training saw are shaded."""
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axis = figure.subplots()
    if trained is not None and trained < float(distances.max()):
        axis.axvspan(-trained, trained, color="#e8eef7", zorder=0, label="seen in training")
    curves(axis, table, distances)
    axis.axvline(0, color="#bbbbbb", lw=0.8, zorder=1)
    axis.set_xlabel("distance = key position − query position", color=INK)
    axis.set_ylabel("logit", color=INK)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=7, frameon=False, ncols=2)
    return figure


def curves(axis: Axes, rows: Float[Tensor, "H M"], distances: Float[Tensor, " M"], width: float = 1.4) -> None:
    """Draw one line a head on `axis`: its bias against the distance."""
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(rows)))
    for head, (row, colour) in enumerate(zip(rows.float().cpu().numpy(), colours, strict=True)):
        axis.plot(distances.cpu().numpy(), row, color=colour, lw=width, label=f"head {head}")


def position_similarity(vectors: Float[Tensor, "N D"]) -> Figure:
    """Cosine of the vectors of every two positions."""
    figure = Figure(figsize=(4.6, 3.8), layout="constrained")
    similarity(figure.subplots(), vectors)
    return figure


def similarity(axis: Axes, vectors: Float[Tensor, "N D"]) -> None:
    """Draw on `axis` the cosine of each position vector (down) with each other (across)."""
    unit = vectors.float() / vectors.float().norm(dim=-1, keepdim=True).clamp(min=1e-12)
    image = axis.imshow((unit @ unit.T).cpu().numpy(), cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    axis.set_xlabel("position", color=INK)
    axis.set_ylabel("position", color=INK)
    axis.get_figure().colorbar(image, ax=axis, label="cosine of position vectors")  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
