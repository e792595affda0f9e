"""Pictures of encodings: a card of one, a gallery of all."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from posenc.figures.attention import curves, similarity
from posenc.figures.portrait import Portrait
from posenc.figures.style import INK


def encoding_card(name: str, portrait: Portrait) -> Figure:
    """Left: the logit between equal tokens against their distance. Right: what makes it so."""
    figure = Figure(figsize=(9.6, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.35, 1])
    curves(left, portrait.logits, portrait.distances)
    left.set_title(_title(name, portrait), fontsize=10, color=INK, loc="left")
    left.set_xlabel("distance = key position − query position", color=INK)
    left.set_ylabel("logit between equal tokens, from its mean", color=INK)
    left.spines[["top", "right"]].set_visible(False)
    left.legend(fontsize=7, frameon=False, ncols=2)
    if portrait.vectors is not None:
        similarity(right, portrait.vectors)
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
        curves(axis, portrait.logits, portrait.distances, width=1.1)
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
