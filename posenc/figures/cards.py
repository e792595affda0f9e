"""Pictures of encodings: the card of one encoding and the gallery of all."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from posenc.figures.attention import heads, similarity
from posenc.figures.marks import colourbar, dress, end_labels, heat, sheet
from posenc.figures.portrait import Portrait
from posenc.figures.style import CEILING, SMALL, TEXT, WIDTH, look, shades


@look()
def encoding_card(name: str, portrait: Portrait) -> Figure:
    """Left: the logit between equal tokens against their distance. Right: vectors, a rotated key, or all logits."""
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.35, 1])
    ends = heads(left, portrait.distances.tolist(), portrait.logits)
    dress(left, _title(name, portrait), "distance = key position − query position", "logit between equal tokens")
    end_labels(left, ends, 2.8)
    if portrait.vectors is not None:
        similarity(right, portrait.vectors)
        right.set_title("similarity of position vectors")
    elif portrait.turned is not None:
        turned = portrait.turned.T.numpy()
        top = float(np.abs(turned).max())
        image = heat(right, turned, -top, top, "RdBu_r", aspect="auto")
        dress(right, "a key of ones after rotation", "position", "component")
        colourbar(image, right)
    else:
        matrix = portrait.matrix.numpy()
        image = heat(right, matrix, float(matrix.min()), float(matrix.max()))
        dress(right, "logits, mean of the heads", "key position", "query position")
        colourbar(image, right)
    return figure


@look()
def encoding_gallery(portraits: Mapping[str, Portrait], columns: int = 5) -> Figure:
    """For each encoding one small chart of the logit between equal tokens against their distance."""
    figure, axes = sheet(len(portraits), columns, 1.2)
    for axis, (name, portrait) in zip(axes, portraits.items(), strict=True):
        for row, colour in zip(portrait.logits.float().cpu().numpy(), shades(len(portrait.logits)), strict=True):
            axis.plot(portrait.distances.cpu().numpy(), row, color=colour, lw=1.1)
        axis.axvline(0, color=CEILING, lw=0.7, zorder=0)
        axis.set_xlim(-64 if portrait.causal else -32, 4 if portrait.causal else 32)
        axis.set_title(name + ("*" if portrait.random else ""), fontsize=SMALL, pad=3)
        axis.locator_params(nbins=3)
    figure.supxlabel("distance = key − query position; * starts flat, shown with random weights", fontsize=TEXT)
    figure.supylabel("logit between equal tokens, from its mean; one line a head", fontsize=TEXT)
    return figure


def _title(name: str, portrait: Portrait) -> str:
    return f"{name}, " + ("starts flat; here with random weights" if portrait.random else "as it starts")
