"""Figures of what attention and an encoding do. Tensors in, a matplotlib Figure out; nothing is global."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from posenc.portrait import Portrait

INK = "#333333"


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
    _curves(axis, table, distances)
    axis.axvline(0, color="#bbbbbb", lw=0.8, zorder=1)
    axis.set_xlabel("distance = key position − query position", color=INK)
    axis.set_ylabel("logit", color=INK)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=7, frameon=False, ncols=2)
    return figure


def _curves(axis: Axes, rows: Float[Tensor, "H M"], distances: Float[Tensor, " M"], width: float = 1.4) -> None:
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(rows)))
    for head, (row, colour) in enumerate(zip(rows.float().cpu().numpy(), colours, strict=True)):
        axis.plot(distances.cpu().numpy(), row, color=colour, lw=width, label=f"head {head}")


def position_similarity(vectors: Float[Tensor, "N D"]) -> Figure:
    """Cosine of the vectors of every two positions."""
    figure = Figure(figsize=(4.6, 3.8), layout="constrained")
    _similarity(figure.subplots(), vectors)
    return figure


def _similarity(axis: Axes, vectors: Float[Tensor, "N D"]) -> None:
    unit = vectors.float() / vectors.float().norm(dim=-1, keepdim=True).clamp(min=1e-12)
    image = axis.imshow((unit @ unit.T).cpu().numpy(), cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    axis.set_xlabel("position", color=INK)
    axis.set_ylabel("position", color=INK)
    axis.get_figure().colorbar(image, ax=axis, label="cosine of position vectors")  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]


def encoding_card(name: str, portrait: Portrait) -> Figure:
    """Left: the logit between equal tokens against their distance. Right: what makes it so."""
    figure = Figure(figsize=(9.6, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.35, 1])
    _curves(left, portrait.logits, portrait.distances)
    left.set_title(_title(name, portrait), fontsize=10, color=INK, loc="left")
    left.set_xlabel("distance = key position − query position", color=INK)
    left.set_ylabel("logit between equal tokens, from its mean", color=INK)
    left.spines[["top", "right"]].set_visible(False)
    left.legend(fontsize=7, frameon=False, ncols=2)
    if portrait.vectors is not None:
        _similarity(right, portrait.vectors)
        right.set_title("similarity of position vectors", fontsize=10, color=INK, loc="left")
    elif portrait.turned is not None:
        turned = portrait.turned.float().T.cpu().numpy()
        top = float(np.abs(turned).max())
        image = right.imshow(turned, cmap="RdBu_r", vmin=-top, vmax=top, aspect="auto", interpolation="nearest")
        right.set_title("a key of ones, after its turn", fontsize=10, color=INK, loc="left")
        right.set_xlabel("position", color=INK)
        right.set_ylabel("component", color=INK)
        figure.colorbar(image, ax=right)
    else:
        image = right.imshow(portrait.matrix.float().cpu().numpy(), cmap="viridis", interpolation="nearest")
        right.set_title("logits, mean of the heads", fontsize=10, color=INK, loc="left")
        right.set_xlabel("key position", color=INK)
        right.set_ylabel("query position", color=INK)
        figure.colorbar(image, ax=right)
    return figure


def encoding_gallery(portraits: Mapping[str, Portrait], columns: int = 6) -> Figure:
    """Every encoding's logit between equal tokens against their distance, one small chart each."""
    rows = -(-len(portraits) // columns)
    figure = Figure(figsize=(2.25 * columns, 1.65 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, (name, portrait) in zip(axes, portraits.items(), strict=False):
        _curves(axis, portrait.logits, portrait.distances, width=1.1)
        axis.axvline(0, color="#cccccc", lw=0.7, zorder=0)
        axis.set_xlim(-64 if portrait.causal else -32, 4 if portrait.causal else 32)
        axis.set_title(name + ("*" if portrait.random else ""), fontsize=8, color=INK, pad=3)
        axis.tick_params(labelsize=6, colors=INK, length=2)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[len(portraits) :]:
        axis.axis("off")
    figure.supxlabel(
        "distance = key position − query position     (* starts flat, shown with random weights)", fontsize=8
    )
    figure.supylabel("logit between equal tokens, from its mean; one line a head", fontsize=8)
    return figure


def _title(name: str, portrait: Portrait) -> str:
    return f"{name}, " + ("starts flat; here with random weights" if portrait.random else "as it starts")
