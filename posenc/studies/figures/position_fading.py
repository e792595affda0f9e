"""The figure of position fading: shares by layer, the probe by layer, and where a trained stack uses position."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from posenc.figures.style import INK
from posenc.statistics.measurements import Measurements

STYLES = ("-", "--", ":", "-.")


def draw(
    found: Measurements,
    arms: Mapping[str, tuple[str, str]],
    trained: Sequence[str],
    depths: Sequence[int],
) -> Figure:
    """Position against token, at the start; the probe, at the start; skill by depth; use by layer.

    The first curve of an arm ends where one seed has a share of 0 or less, which has no logarithm.
    """
    figure = Figure(figsize=(13, 8.8), layout="constrained")
    share, probe, skill, used = figure.subplots(2, 2).ravel()
    norms, places = (list(dict.fromkeys(arm[i] for arm in arms.values())) for i in (0, 1))
    colours = dict(zip(norms, matplotlib.colormaps["turbo"](np.linspace(0.08, 0.92, len(norms))), strict=True))
    styles = dict(zip(places, STYLES, strict=False))
    for arm, (norm, place) in arms.items():
        rows = found.along("position", arm)
        ratio = [
            _log10([*rows[at].values()]) - _log10([*token.values()]) for at, token in found.along("token", arm).items()
        ]
        _line(share, [*rows], np.array(ratio), colours[norm], styles[place], arm)
        probes = found.along("probe", arm)
        _line(probe, [*probes], np.array([[*s.values()] for s in probes.values()]), colours[norm], styles[place], arm)
    share.axhline(0, color="#bbbbbb", lw=0.8, zorder=0)
    _name(share, "layer", "log10 of position share / token share", "at the start: position against token")
    _name(probe, "layer", "distance of its answer, 1: a guess", "at the start: linear probe of position")
    _legend(share, colours, styles)
    tones = dict(zip(trained, matplotlib.colormaps["viridis"](np.linspace(0.05, 0.8, len(trained))), strict=True))
    for arm in trained:
        rows = found.along("skill", arm)
        for at, sample in rows.items():
            skill.plot([at] * len(sample), [*sample.values()], "o", ms=3, color=tones[arm], alpha=0.5)
        skill.plot(
            [*rows], [np.mean([*s.values()]) for s in rows.values()], color=tones[arm], lw=1.7, label=_plain(arm)
        )
        for depth, style in zip(depths[::-1], STYLES, strict=False):
            rows = found.along("used", f"{arm} depth {depth}")
            if rows:
                values = np.array([[*s.values()] for s in rows.values() if len(s)], dtype=object)
                mean = [np.mean(list(each)) for each in values]
                used.plot([*rows], mean, color=tones[arm], ls=style, lw=1.6, label=f"{_plain(arm)}, {depth} layers")
    skill.set_xticks(depths)
    skill.set_ylim(-0.25, 1.08)
    skill.legend(fontsize=8, frameon=False)
    _name(skill, "depth", "skill", "trained: one seed a dot")
    used.axhline(0, color="#bbbbbb", lw=0.8, zorder=0)
    used.legend(fontsize=7, frameon=False)
    _name(used, "layer as a share of the depth", "skill lost", "trained: without the mean of each position")
    return figure


def _log10(shares: Sequence[float]) -> np.ndarray:
    values = np.array(shares)
    return np.log10(np.where(values > 0, values, np.nan))


def _line(axis: Axes, layer: Sequence[float], values: np.ndarray, colour: np.ndarray, style: str, arm: str) -> None:
    mean, deviation = values.mean(1), values.std(1)
    axis.plot(layer, mean, color=colour, ls=style, lw=1.7)
    axis.fill_between(layer, mean - deviation, mean + deviation, color=colour, alpha=0.12, lw=0)


def _legend(axis: Axes, colours: dict[str, np.ndarray], styles: Mapping[str, str]) -> None:
    """Colours for the norms, styles for the places of injection."""
    lines = [axis.plot([], [], color=colour, lw=2, label=_plain(norm))[0] for norm, colour in colours.items()]
    lines += [axis.plot([], [], color="#555555", ls=style, label=_plain(place))[0] for place, style in styles.items()]
    axis.legend(handles=lines, fontsize=7.5, frameon=False, ncols=2)


def _name(axis: Axes, x: str, y: str, title: str) -> None:
    axis.set_xlabel(x, color=INK)
    axis.set_ylabel(y, color=INK)
    axis.set_title(title, fontsize=9.5, color=INK, loc="left")
    axis.spines[["top", "right"]].set_visible(False)


def _plain(name: str) -> str:
    return name.replace("_", " ")
