"""The figure of locality: skill against the number of training sequences, one panel a reach; examples needed."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from posenc.figures.style import INK
from posenc.statistics.measurements import Measurements
from posenc.studies.method.curves import FAINT, colours, dress, plain

MARKS = "o>s^"
"""One for each reach."""


def draw(found: Measurements, arms: Sequence[str], reaches: Sequence[int], sizes: Sequence[int]) -> Figure:
    """Every seed a dot, a line through the means; right, N90 of each arm at each reach."""
    figure = Figure(figsize=(5.2 * len(reaches) + 5.4, 4.6), layout="constrained")
    *panels, needed = figure.subplots(1, len(reaches) + 1)
    tones, logs = colours(arms), np.log2(sizes)
    for axis, reach in zip(panels, reaches, strict=True):
        for i, arm in enumerate(arms):
            rows = found.frame("skill", f"{arm} r={reach}")
            axis.plot(logs + (i - len(arms) / 2) * 0.03, rows, "o", ms=3, color=tones[arm], alpha=0.5)
            axis.plot(logs, rows.mean(axis=1), color=tones[arm], lw=1.7, label=plain(arm))
        for y in (0, 0.9):
            axis.axhline(y, color=FAINT, lw=0.8, zorder=0)
        axis.set_xticks(logs, [f"{size:,}" for size in sizes])
        axis.set_ylim(-0.15, 1.08)
        dress(axis, f"offsets ±{reach} and ±{reach + 1}", "training sequences", size=10)
    panels[0].set_ylabel("skill on fresh sequences", color=INK)
    panels[-1].legend(fontsize=8, frameon=False, loc=(0.62, 0.2))
    known = found.arms("n90")
    for j, reach in enumerate(reaches):
        mark = MARKS[j % len(MARKS)]
        for i, arm in enumerate(arms):
            if f"{arm} r={reach}" in known:
                sample = [*found.sample("n90", f"{arm} r={reach}", 0).values()]
                height = i + (j - (len(reaches) - 1) / 2) * 0.26
                needed.plot(sample, [height] * len(sample), "o", ms=3.5, color=tones[arm], alpha=0.5)
                needed.plot(np.mean(sample), height, marker=mark, ms=8, color=tones[arm], mec="white")
        needed.plot([], [], marker=mark, ls="", color="#555555", label=f"r = {reach}, mean of the seeds")
    never = logs[-1] + 1
    needed.axvspan(never - 0.25, never + 0.25, color="#eeeeee", zorder=0)
    needed.set_xticks([*logs, never], [*(f"{size:,}" for size in sizes), "more"])
    needed.set_yticks(range(len(arms)), [plain(arm) for arm in arms])
    needed.invert_yaxis()
    needed.legend(fontsize=8, frameon=False, loc="lower center")
    dress(needed, "", "training sequences needed for a skill of .9")
    return figure
