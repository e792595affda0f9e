"""Code that the charts of all studies share: curves of means over seeds, and labels."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from posenc.figures.marks import name_lines
from posenc.figures.style import tones
from posenc.statistics.measurements import Measurements

STYLES = ("-", "--", ":", "-.")
"""Line styles."""


def plain(name: str) -> str:
    """A name of the table in the form for figures."""
    return name.replace("_", " ")


def curves(axis: Axes, found: Measurements, quantity: str, arms: Mapping[str, str]) -> None:
    """Means over seeds against `at`, one line for each arm; `arms` is {label: arm in the table}."""
    for name, colour in tones(arms).items():
        mean = found.frame(quantity, arms[name]).mean(axis=1)
        axis.plot(mean, color=colour, lw=1.7, marker="o", ms=3, label=plain(name))


def band(axis: Axes, rows: pd.DataFrame, colour: str, opacity: float = 0.15, lw: float = 1.7, **look: Any) -> None:
    """The mean over seeds (columns), with a band of one standard deviation; `look` are options of the line."""
    mean, deviation = rows.mean(axis=1, skipna=False), rows.std(axis=1, ddof=0, skipna=False)
    axis.plot(mean, color=colour, lw=lw, **look)
    axis.fill_between(mean.index, mean - deviation, mean + deviation, color=colour, alpha=opacity, lw=0)


def label(axis: Axes, x: str, y: str) -> None:
    """Label the axes and the ends of lines."""
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    name_lines(axis)
