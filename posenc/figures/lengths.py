"""Figures of test scores against length and against the place in the sequence."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from posenc.figures.style import ACCENT, INK


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
