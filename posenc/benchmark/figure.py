"""One figure of a benchmark: against other libraries, each encoding, and data."""

from collections.abc import Mapping
from typing import Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from posenc.benchmark.sections import Section

Corner = Literal["upper right", "lower right"]
FAINT, OURS, THEIRS, LIMIT = "#7b8794", "#2b6cb0", "#9aa5b1", "#dd7a1f"


def draw(sections: Mapping[str, Section]) -> Figure:
    """A panel for each of the sections that it knows; longer lists take the taller ones."""
    known = {name: panel for name, panel in PANELS.items() if name in sections and sections[name].rows}
    count = max((len({row["contestant"] for row in sections[name].rows}) for name in known), default=1)
    figure = Figure(figsize=(5.6 * max(1, len(known)), 2.4 + 0.19 * count), layout="constrained")
    for axis, (name, panel) in zip(
        figure.subplots(1, max(1, len(known)), squeeze=False)[0], known.items(), strict=True
    ):
        panel(axis, sections[name])
        top = max(axis.get_yticks()) + 0.8
        axis.set_ylim(top - max(count, 8) - 0.6, top)  # rows are as far apart in every panel
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="x", color="#e4e7eb", zorder=0)
        axis.tick_params(labelsize=8)
    return figure


def _settings(section: Section) -> list[tuple[int, int]]:
    return [*dict.fromkeys((row["batch"], row["length"]) for row in section.rows)]


def _dots(axis: Axes, section: Section, value: str, names: list[str], legend: Corner) -> None:
    """One row a contestant, one mark a setting."""
    settings = _settings(section)
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(settings)))
    for (size, length), colour, mark in zip(settings, colours, "osD^vP"[: len(settings)], strict=True):
        rows = {row["contestant"]: row for row in section.rows if (row["batch"], row["length"]) == (size, length)}
        shown = [name for name in names if value in rows.get(name, {})]
        axis.plot(
            [rows[name][value] for name in shown],
            [names.index(name) for name in shown],
            mark, color=colour, ms=5, label=f"{size} × {length}",
        )  # fmt: skip
    axis.set_yticks(range(len(names)), names)
    axis.axvline(1, color=FAINT, lw=1, zorder=0)
    axis.legend(fontsize=8, title="batch × length", title_fontsize=8, frameon=False, loc=legend)


def _peers(axis: Axes, section: Section) -> None:
    names = [*dict.fromkeys(row["contestant"] for row in section.rows)][::-1]
    _dots(axis, section, "ratio", names, "lower right")
    axis.set_xlim(left=0)
    axis.set_xlabel("step time / that of the fastest peer", fontsize=9)
    axis.set_title("against other libraries", fontsize=10, loc="left")


def _encodings(axis: Axes, section: Section) -> None:
    ratios: dict[str, list[float]] = {}
    for row in section.rows:
        ratios.setdefault(row["contestant"], []).append(row["ratio"])
    names = sorted(ratios, key=lambda name: -float(np.median(ratios[name])))
    _dots(axis, section, "ratio", names, "upper right")
    axis.set_xscale("log")
    ticks = [t for t in (1, 1.2, 1.5, 2, 3, 5, 8, 12) if t <= 1.1 * max(map(max, ratios.values()))]
    axis.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axis.minorticks_off()
    axis.set_xlabel("step time / that of no encoding under the same mask", fontsize=9)
    axis.set_title("each encoding", fontsize=10, loc="left")


def _data(axis: Axes, section: Section) -> None:
    names = [row["contestant"] for row in section.rows][::-1]
    axis.barh(names, [100 * row["ratio"] for row in section.rows][::-1], color=OURS, zorder=2)
    axis.axvline(2, color=LIMIT, lw=1)
    axis.set_xlabel("drawing a batch, % of a training step on it", fontsize=9)
    axis.set_title("data", fontsize=10, loc="left")


PANELS = {"peers": _peers, "encodings": _encodings, "data": _data}
