"""Axes as all figures of an analysis have them."""

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from posenc.figures.style import INK

SHADE = "#e8eef7"
LETTERED = 96
"""Cells of a grid that still have room for their number."""


def panels(
    count: int, width: float, height: float, columns: int = 3, legend: float = 0.0, share: bool = False
) -> tuple[Figure, list[Axes]]:
    """So many axes of this size in inches, `columns` a row, and `legend` inches beside them; `share`: one y-axis."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns + legend, height * rows + 0.3), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, sharey=share).ravel())
    for axis in axes[count:]:
        axis.set_axis_off()
    return figure, axes[:count]


def dress(axis: Axes, title: str, x: str, y: str = "") -> None:
    """Title and labels, small; no frame."""
    axis.set_title(title, fontsize=9, color=INK, loc="left")
    axis.set_xlabel(x, fontsize=8, color=INK)
    axis.set_ylabel(y, fontsize=8, color=INK)
    axis.tick_params(labelsize=7, colors=INK, length=2)
    axis.spines[["top", "right"]].set_visible(False)


def grid(axis: Axes, values: Float[np.ndarray, "R C"], low: float, high: float, cmap: str) -> None:
    """A heat map whose cells say their numbers where there is room."""
    image = axis.imshow(values, cmap=cmap, vmin=low, vmax=high, aspect="auto", interpolation="nearest")
    axis.spines[:].set_visible(False)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    if values.size <= LETTERED:
        for (row, column), value in np.ndenumerate(values):
            dark = float(np.dot(image.cmap(image.norm(value))[:3], (0.3, 0.6, 0.1))) < 0.5
            axis.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color="white" if dark else INK)
        return
    figure = axis.get_figure()
    assert isinstance(figure, Figure)
    figure.colorbar(image, ax=axis, pad=0.02).ax.tick_params(labelsize=6, colors=INK)
