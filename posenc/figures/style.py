"""What all figures share: colours, and how a figure is written."""

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from posenc.runs.writing import write_picture

INK = "#333333"
ACCENT = "#3b6ea8"
DPI = 150


def save(figure: Figure, path: Path) -> None:
    """Write `path`.png and `path`.svg, the same bytes from the same numbers."""
    with matplotlib.rc_context({"svg.hashsalt": "posenc"}):
        write_picture(path.with_name(f"{path.name}.png"), figure, dpi=DPI)
        figure.set_layout_engine("none")  # laid out once, for both
        write_picture(path.with_name(f"{path.name}.svg"), figure, dpi=DPI, metadata={"Date": None})
