"""Curves of a study's numbers, as every headline chart draws them."""

from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from posenc.figures.style import INK
from posenc.statistics.measurements import Measurements


def curves(axis: Axes, found: Measurements, quantity: str, arms: Mapping[str, str]) -> None:
    """Mean over the seeds against `at`, one line for each arm, named by the mapping's keys."""
    colours = matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, len(arms)))
    for (label, arm), colour in zip(arms.items(), colours, strict=True):
        rows = found.along(quantity, arm)
        mean = [np.mean([*sample.values()]) for sample in rows.values()]
        axis.plot([*rows], mean, color=colour, lw=1.7, marker="o", ms=3, label=label.replace("_", " "))


def label(axis: Axes, x: str, y: str) -> None:
    """Names of the axes, and the legend."""
    axis.set_xlabel(x, color=INK, fontsize=9)
    axis.set_ylabel(y, color=INK, fontsize=9)
    axis.legend(fontsize=7.5, frameon=False)
