"""Figures of what attention and an encoding do. Tensors in, a matplotlib Figure out; nothing is global."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from posenc.figures.portrait import Portrait

INK = "#333333"
ACCENT = "#3b6ea8"


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


def length_curves(result: Mapping[str, Any]) -> Figure:
    """Accuracy beside its ceilings, and skill, against the test length; the trained range is shaded.

    `result` is what result.json holds. Where no ceiling is known, bits a target beside the references stand right.
    """
    lengths = [int(length) for length in result["test"]]
    rows = list(result["test"].values())
    figure = Figure(figsize=(9.6, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    errors = [1.96 * row["accuracy_standard_error"] for row in rows]
    left.errorbar(lengths, [row["accuracy"] for row in rows], errors, color=ACCENT, marker="o", ms=4, lw=1.6)
    for name, style in (("order_blind", ":"), ("order_aware", "--")):
        ceiling = [(int(length), row[name]) for length, row in result["ceilings"].items() if row[name] is not None]
        if ceiling:
            left.plot(*zip(*sorted(ceiling), strict=True), ls=style, color="#888888", lw=1.2)
            left.annotate(
                f"best {name.replace('_', '-')}", sorted(ceiling)[0], (2, 4), textcoords="offset points", fontsize=7
            )
    left.set_ylabel("test accuracy", color=INK)
    known = [(length, row) for length, row in zip(lengths, rows, strict=True) if "skill" in row]
    if known:
        skill, error = ([row[key] for _, row in known] for key in ("skill", "skill_standard_error"))
        x = [length for length, _ in known]
        right.errorbar(x, skill, [1.96 * value for value in error], color=ACCENT, marker="o", ms=4, lw=1.6)
        right.axhline(0, color="#888888", ls=":", lw=1.2)
        right.axhline(1, color="#888888", ls="--", lw=1.2)
        right.set_ylabel("skill", color=INK)
    else:
        right.plot(lengths, [row["bits"] for row in rows], color=ACCENT, marker="o", ms=4, lw=1.6)
        for name, value in result["references"].items():
            right.axhline(value, color="#888888", ls=":", lw=1.2)
            right.annotate(name.replace("_", " "), (lengths[0], value), (2, 3), textcoords="offset points", fontsize=7)
        right.set_ylabel("bits a target", color=INK)
    for axis in (left, right):
        _length_axis(axis, result, lengths)
    names = (f"encoding={result['encoding']}", f"positions={result['positions']}", f"seed {result['seed']}")
    figure.suptitle(" · ".join((result["dataset"], *names)), fontsize=10, color=INK, x=0.01, ha="left")
    return figure


def _length_axis(axis: Axes, result: Mapping[str, Any], lengths: Sequence[int]) -> None:
    """Length on a logarithmic axis: trained range shaded, lengths at which the encoding is undefined crossed out."""
    shortest, longest = result["trained_lengths"]
    ticks = sorted({*lengths, *(int(length) for length in result["undefined"])})
    axis.set_xscale("log", base=2)
    axis.axvspan(min(shortest, lengths[0]) * 0.96, longest * 1.04, color="#e8eef7", zorder=0)
    for length in result["undefined"]:
        axis.axvline(int(length), color="#c44e52", lw=0.8, ls=(0, (2, 3)))
        axis.annotate(
            "undefined", (int(length), 0.5), xycoords=("data", "axes fraction"), rotation=90, fontsize=7, ha="right"
        )
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.minorticks_off()
    axis.set_xlabel("length (shaded: trained)", color=INK)
    axis.spines[["top", "right"]].set_visible(False)


def position_curves(rows: Sequence[Mapping[str, float]], trained: int, title: str) -> Figure:
    """Bits a target against its place in the sequence, one line a test length, averaged over octaves' eighths.

    `trained` is how many tokens the longest sequence of training has; a task may read more of them than its length.
    `rows` are those of by_position.csv. A model whose line keeps falling past the trained length uses the longer
    context; one whose line rises does not extrapolate.
    """
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axis = figure.subplots()
    lengths = sorted({int(row["length"]) for row in rows})
    colours = matplotlib.colormaps["viridis"](np.linspace(0.85, 0, len(lengths)))
    for length, colour in zip(lengths, colours, strict=True):
        chosen = [row for row in rows if row["length"] == length]
        place, bits, asked = (np.array([row[key] for row in chosen]) for key in ("position", "bits", "asked"))
        x, y = pooled(place + 1, bits, asked)
        axis.plot(x, y, color=colour, lw=1.4, label=f"length {length}")
    axis.axvspan(1, trained, color="#e8eef7", zorder=0)
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set_xlabel("place in the sequence, from 1 (shaded: trained)", color=INK)
    axis.set_ylabel("bits a target", color=INK)
    axis.set_title(title, fontsize=10, color=INK, loc="left")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=7, frameon=False)
    return figure


def pooled(place: np.ndarray, value: np.ndarray, weight: np.ndarray, octave: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Weighted means over bins of equal width on a logarithmic axis, `octave` of them an octave."""
    bins = np.floor(np.log2(place) * octave).astype(int)
    kept = np.unique(bins)
    mean = [[np.average(each[bins == b], weights=weight[bins == b]) for b in kept] for each in (place, value)]
    return np.array(mean[0]), np.array(mean[1])
