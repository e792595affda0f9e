"""The figure of length extrapolation: skill and attention on the target against length, and attention over depth."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from posenc.figures.style import INK
from posenc.statistics.measurements import Measurements

STYLES = ("-", "--", ":", "-.")


def draw(
    found: Measurements, arms: Sequence[str], norms: Sequence[str], multiples: Sequence[float], layers: int
) -> Figure:
    """Colour is the encoding, line style the norm; every seed a dot beside the line through the means."""
    figure = Figure(figsize=(13, 8.8), layout="constrained")
    skill, target, similarity, sink = figure.subplots(2, 2).ravel()
    colours = dict(zip(arms, matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, len(arms))), strict=True))
    for axis, quantity, title in ((skill, "skill", "skill"), (target, "target_mass", "attention on the answer's key")):
        for arm in arms:
            for norm, style in zip(norms, STYLES, strict=False):
                rows = found.along(quantity, f"{arm} {norm}")
                for k, sample in rows.items():
                    axis.plot(
                        [np.log2(k)] * len(sample), [*sample.values()], "o", ms=2.5, color=colours[arm], alpha=0.4
                    )
                mean = [np.mean([*sample.values()]) for sample in rows.values()]
                axis.plot(np.log2([*rows]), mean, color=colours[arm], ls=style, lw=1.7)
        axis.axvspan(-0.12, 0, color="#e8eef7", zorder=0)
        axis.set_xlim(-0.12, np.log2(multiples[-1]) + 0.1)
        axis.set_xticks(np.log2(multiples), [f"{k:g}×" for k in multiples])
        axis.set_ylim(-0.08 if quantity == "skill" else -0.02, 1.06)
        _name(axis, "length, in training lengths", title, f"{title}; trained length shaded")
    lines = [skill.plot([], [], color=colour, lw=2, label=arm.replace("_", " "))[0] for arm, colour in colours.items()]
    lines += [
        skill.plot([], [], color="#555555", ls=style, label=f"{norm}-norm")[0]
        for norm, style in zip(norms, STYLES, strict=False)
    ]
    skill.legend(handles=lines, fontsize=7.5, frameon=False, ncols=2, loc="upper right")
    for axis, quantity, title in (
        (similarity, "head_similarity", "cosine of two heads"),
        (sink, "sink_rate", "share of heads with a sink"),
    ):
        for arm in arms:
            for norm, style in zip(norms, STYLES, strict=False):
                rows = found.along(quantity, f"{arm} {norm}")
                mean = [
                    np.mean([value for at, s in rows.items() if round(at - layer, 6) == 0.01 for value in s.values()])
                    for layer in range(layers)
                    if rows
                ]
                axis.plot(range(1, len(mean) + 1), mean, color=colours[arm], ls=style, lw=1.6, marker="o", ms=2.5)
        axis.set_xticks(range(1, layers + 1))
        axis.set_ylim(-0.02, 1.06)
        _name(axis, "layer", title, f"{title}, at the trained length")
    return figure


def _name(axis: Axes, x: str, y: str, title: str) -> None:
    axis.set_xlabel(x, color=INK)
    axis.set_ylabel(y, color=INK)
    axis.set_title(title, fontsize=9.5, color=INK, loc="left")
    axis.spines[["top", "right"]].set_visible(False)
