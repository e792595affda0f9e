"""The figure of locality: skill against the number of training sequences, one panel a reach; examples needed."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from posenc.figures.style import INK
from posenc.statistics.measurements import Measurements


def draw(found: Measurements, arms: Sequence[str], reaches: Sequence[int], sizes: Sequence[int]) -> Figure:
    """Every seed a dot, a line through the means; right, N90 of each arm at each reach."""
    figure = Figure(figsize=(5.2 * len(reaches) + 5.4, 4.6), layout="constrained")
    *panels, needed = figure.subplots(1, len(reaches) + 1)
    colours = dict(zip(arms, matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, len(arms))), strict=True))
    logs = np.log2(sizes)
    for axis, reach in zip(panels, reaches, strict=True):
        for i, arm in enumerate(arms):
            rows = found.along("skill", f"{arm} r={reach}")
            values = np.array([[*sample.values()] for sample in rows.values()])
            shift = (i - len(arms) / 2) * 0.03
            axis.plot(
                np.repeat(logs + shift, values.shape[1]), values.ravel(), "o", ms=3, color=colours[arm], alpha=0.5
            )
            axis.plot(logs, values.mean(1), color=colours[arm], lw=1.7, label=arm.replace("_", " "))
        axis.axhline(0.9, color="#bbbbbb", lw=0.8, zorder=0)
        axis.axhline(0, color="#bbbbbb", lw=0.8, zorder=0)
        axis.set_xticks(logs, [f"{size:,}" for size in sizes])
        axis.set_ylim(-0.15, 1.08)
        axis.set_xlabel("training sequences", color=INK)
        axis.set_title(f"offsets ±{reach} and ±{reach + 1}", fontsize=10, color=INK, loc="left")
    panels[0].set_ylabel("skill on fresh sequences", color=INK)
    panels[-1].legend(fontsize=8, frameon=False, loc=(0.62, 0.2))
    known = found.arms("n90")
    for j, reach in enumerate(reaches):
        for i, arm in enumerate(arms):
            if f"{arm} r={reach}" not in known:
                continue
            sample = np.array([*found.sample("n90", f"{arm} r={reach}", 0).values()])
            height = i + (j - (len(reaches) - 1) / 2) * 0.26
            needed.plot(sample, [height] * len(sample), "o", ms=3.5, color=colours[arm], alpha=0.5)
            needed.plot(sample.mean(), height, marker="o>s^"[j % 4], ms=8, color=colours[arm], mec="white")
    for j, reach in enumerate(reaches):
        needed.plot([], [], marker="o>s^"[j % 4], ls="", color="#555555", label=f"r = {reach}, mean of the seeds")
    never = logs[-1] + 1
    needed.axvspan(never - 0.25, never + 0.25, color="#eeeeee", zorder=0)
    needed.set_xticks([*logs, never], [*(f"{size:,}" for size in sizes), "more"])
    needed.set_yticks(range(len(arms)), [arm.replace("_", " ") for arm in arms])
    needed.invert_yaxis()
    needed.set_xlabel("training sequences needed for a skill of .9", color=INK)
    needed.legend(fontsize=8, frameon=False, loc="lower center")
    for axis in (*panels, needed):
        axis.spines[["top", "right"]].set_visible(False)
    return figure
