"""The figure of a benchmark, with panels for the sections `peers`, `encodings` and `data`."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from posenc.benchmark.sections import Section
from posenc.figures.marks import entitle
from posenc.figures.style import ACCENT, CEILING, SECOND, WIDTH, look, shades

Corner = Literal["upper right", "lower right"]


@look()
def draw(sections: Mapping[str, Section]) -> Figure:
    """One panel for each section in `PANELS` that has rows."""
    known = {name: panel for name, panel in PANELS.items() if name in sections and sections[name].rows}
    count = max((len({row["contestant"] for row in sections[name].rows}) for name in known), default=1)
    figure = Figure(figsize=(WIDTH if known else 4, 2.2 + 0.155 * count), layout="constrained")
    for axis, (name, panel) in zip(
        figure.subplots(1, max(1, len(known)), squeeze=False)[0], known.items(), strict=True
    ):
        panel(axis, sections[name])
        top = max(axis.get_yticks()) + 0.8
        axis.set_ylim(top - max(count, 8) - 0.6, top)  # gives rows the same distance in every panel
    figure.set_figheight(figure.get_figheight() + entitle(figure, _finding(sections)))
    return figure


def _finding(sections: Mapping[str, Section]) -> str:
    """The ratio of posenc's step to the fastest peer's, and the most expensive encoding."""
    said = []
    if "peers" in sections:
        rows = [row for row in sections["peers"].rows if str(row["contestant"]).startswith("posenc")]
        ratios = [row["ratio"] for row in rows]
        said += [f"A step takes {min(ratios):.2f} to {max(ratios):.2f} of the fastest peer's"] if ratios else []
    if "encodings" in sections and sections["encodings"].rows:
        most = max(sections["encodings"].rows, key=lambda row: row["ratio"])
        said.append(f"encodings cost up to {most['ratio']:.1f}× a step without one ({most['contestant']})")
    return "; ".join(said)


def _dots(axis: Axes, section: Section, names: list[str], legend: Corner) -> None:
    """Ratios: one row for each contestant, one marker for each batch size and length."""
    settings = [*dict.fromkeys((row["batch"], row["length"]) for row in section.rows)]
    for setting, colour, mark in zip(settings, shades(len(settings)), "osD^vP"[: len(settings)], strict=True):
        rows = [row for row in section.rows if (row["batch"], row["length"]) == setting]
        places = [names.index(row["contestant"]) for row in rows]
        label = f"{setting[0]} × {setting[1]}"
        axis.plot([row["ratio"] for row in rows], places, mark, color=colour, ms=4, label=label)
    axis.set_yticks(range(len(names)), names)
    axis.axvline(1, color=CEILING, lw=1, zorder=0)
    axis.legend(title="batch × length", loc=legend)


def _peers(axis: Axes, section: Section) -> None:
    names = [*dict.fromkeys(row["contestant"] for row in section.rows)][::-1]
    _dots(axis, section, names, "lower right")
    axis.set_xlim(left=0)
    axis.set_xlabel("step time / fastest peer")
    axis.set_title("against other libraries")


def _encodings(axis: Axes, section: Section) -> None:
    ratios: dict[str, list[float]] = {}
    for row in section.rows:
        ratios.setdefault(row["contestant"], []).append(row["ratio"])
    names = sorted(ratios, key=lambda name: -float(np.median(ratios[name])))
    _dots(axis, section, names, "upper right")
    axis.set_xscale("log")
    ticks = [t for t in (1, 1.5, 2, 3, 5, 8, 12) if t <= 1.1 * max(map(max, ratios.values()))]
    axis.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axis.minorticks_off()
    axis.set_xlabel("step time / no encoding")
    axis.set_title("each encoding")


def _data(axis: Axes, section: Section) -> None:
    names = [row["contestant"] for row in section.rows][::-1]
    axis.barh(names, [100 * row["ratio"] for row in section.rows][::-1], color=ACCENT, zorder=2)
    axis.axvline(2, color=SECOND, lw=1)
    axis.set_xlabel("a batch, % of its step")
    axis.set_title("data")


PANELS = {"peers": _peers, "encodings": _encodings, "data": _data}
