"""The figure of length extrapolation: skill and attention on the target against length, and attention over depth."""

from collections.abc import Sequence
from itertools import product

import numpy as np
from matplotlib.figure import Figure

from posenc.statistics.measurements import Measurements
from posenc.studies.method.curves import STYLES, colours, dress, plain


def draw(
    found: Measurements, arms: Sequence[str], norms: Sequence[str], multiples: Sequence[float], layers: int
) -> Figure:
    """Colour is the encoding, line style the norm; every seed a dot beside the line through the means."""
    figure = Figure(figsize=(13, 8.8), layout="constrained")
    skill, target, similarity, sink = figure.subplots(2, 2).ravel()
    tones, styles = colours(arms), dict(zip(norms, STYLES, strict=False))
    for axis, quantity, title in ((skill, "skill", "skill"), (target, "target_mass", "attention on the answer's key")):
        for arm, norm in product(arms, styles):
            rows = found.frame(quantity, f"{arm} {norm}")
            axis.plot(np.log2(rows.index), rows, "o", ms=2.5, color=tones[arm], alpha=0.4)
            axis.plot(np.log2(rows.index), rows.mean(axis=1), color=tones[arm], ls=styles[norm], lw=1.7)
        axis.axvspan(-0.12, 0, color="#e8eef7", zorder=0)
        axis.set_xlim(-0.12, np.log2(multiples[-1]) + 0.1)
        axis.set_xticks(np.log2(multiples), [f"{k:g}×" for k in multiples])
        axis.set_ylim(-0.08 if quantity == "skill" else -0.02, 1.06)
        dress(axis, f"{title}; trained length shaded", "length, in training lengths", title)
    lines = [skill.plot([], [], color=colour, lw=2, label=plain(arm))[0] for arm, colour in tones.items()]
    lines += [skill.plot([], [], color="#555555", ls=style, label=f"{norm}-norm")[0] for norm, style in styles.items()]
    skill.legend(handles=lines, fontsize=7.5, frameon=False, ncols=2, loc="upper right")
    for axis, quantity, title in (
        (similarity, "head_similarity", "cosine of two heads"),
        (sink, "sink_rate", "share of heads with a sink"),
    ):
        for arm, norm in product(arms, styles):
            mean = found.frame(quantity, f"{arm} {norm}").mean(axis=1)
            near = mean.loc[[round(float(at) % 1, 6) == 0.01 for at in mean.index]]  # k = 1
            look = {"marker": "o", "ms": 2.5, "lw": 1.6}
            axis.plot(range(1, len(near) + 1), near, color=tones[arm], ls=styles[norm], **look)
        axis.set_xticks(range(1, layers + 1))
        axis.set_ylim(-0.02, 1.06)
        dress(axis, f"{title}, at the trained length", "layer", title)
    return figure
