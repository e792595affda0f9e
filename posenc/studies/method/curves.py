"""What the charts of all studies share: colours, curves over the seeds, names of axes."""

from collections.abc import Iterable, Mapping
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from posenc.figures.style import INK
from posenc.statistics.measurements import Measurements

STYLES = ("-", "--", ":", "-.")
"""Of lines."""
FAINT = "#bbbbbb"
"""The colour of lines that nothing was measured for."""


def plain(name: str) -> str:
    """A name of the table as a figure writes it."""
    return name.replace("_", " ")


def colours(names: Iterable[str], low: float = 0.05, high: float = 0.95, cmap: str = "turbo") -> dict[str, np.ndarray]:
    """A colour for each name, spread over a part of a colour map."""
    names = list(names)
    return dict(zip(names, matplotlib.colormaps[cmap](np.linspace(low, high, len(names))), strict=True))


def curves(axis: Axes, found: Measurements, quantity: str, arms: Mapping[str, str]) -> None:
    """Mean over the seeds against `at`, one line for each arm, named by the mapping's keys."""
    for name, colour in colours(arms).items():
        mean = found.frame(quantity, arms[name]).mean(axis=1)
        axis.plot(mean, color=colour, lw=1.7, marker="o", ms=3, label=plain(name))


def band(
    axis: Axes, rows: pd.DataFrame, colour: np.ndarray, opacity: float = 0.15, lw: float = 1.7, **look: Any
) -> None:
    """Mean over the seeds (the columns), and their standard deviation as a band; `look` is that of the line."""
    mean, deviation = rows.mean(axis=1, skipna=False), rows.std(axis=1, ddof=0, skipna=False)
    axis.plot(mean, color=colour, lw=lw, **look)
    axis.fill_between(mean.index, mean - deviation, mean + deviation, color=colour, alpha=opacity, lw=0)


def label(axis: Axes, x: str, y: str) -> None:
    """Names of the axes, and the legend."""
    axis.set_xlabel(x, color=INK, fontsize=9)
    axis.set_ylabel(y, color=INK, fontsize=9)
    axis.legend(fontsize=7.5, frameon=False)


def dress(axis: Axes, title: str, x: str, y: str = "", size: float = 9.5) -> None:
    """Title and names of the axes; no frame."""
    axis.set_title(title, fontsize=size, color=INK, loc="left")
    axis.set_xlabel(x, color=INK)
    axis.set_ylabel(y, color=INK)
    axis.spines[["top", "right"]].set_visible(False)
