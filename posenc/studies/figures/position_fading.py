"""The figure of position fading: shares by layer, the probe by layer, and where a trained stack uses position."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from posenc.statistics.measurements import Measurements
from posenc.studies.method.curves import FAINT, STYLES, band, colours, dress, plain


def draw(
    found: Measurements, arms: Mapping[str, tuple[str, str]], trained: Sequence[str], depths: Sequence[int]
) -> Figure:
    """Position against token, at the start; the probe, at the start; skill by depth; use by layer.

    The first curve of an arm ends where one seed has a share of 0 or less, which has no logarithm.
    """
    figure = Figure(figsize=(13, 8.8), layout="constrained")
    share, probe, skill, used = figure.subplots(2, 2).ravel()
    norms, places = (dict.fromkeys(arm[i] for arm in arms.values()) for i in (0, 1))
    tones, styles = colours(norms, 0.08, 0.92), dict(zip(places, STYLES, strict=False))
    for arm, (norm, place) in arms.items():
        position, token = (found.frame(quantity, arm) for quantity in ("position", "token"))
        ratio = (position.where(position > 0) / token.where(token > 0)).map(np.log10)
        for axis, rows in ((share, ratio), (probe, found.frame("probe", arm))):
            band(axis, rows, tones[norm], 0.12, ls=styles[place])
    share.axhline(0, color=FAINT, lw=0.8, zorder=0)
    dress(share, "at the start: position against token", "layer", "log10 of position share / token share")
    dress(probe, "at the start: linear probe of position", "layer", "distance of its answer, 1: a guess")
    lines = [share.plot([], [], color=colour, lw=2, label=plain(norm))[0] for norm, colour in tones.items()]
    lines += [share.plot([], [], color="#555555", ls=style, label=plain(place))[0] for place, style in styles.items()]
    share.legend(handles=lines, fontsize=7.5, frameon=False, ncols=2)
    for arm, colour in colours(trained, 0.05, 0.8, "viridis").items():
        rows = found.frame("skill", arm)
        skill.plot(rows.index, rows, "o", ms=3, color=colour, alpha=0.5)
        skill.plot(rows.mean(axis=1), color=colour, lw=1.7, label=plain(arm))
        for depth, style in zip(depths[::-1], STYLES, strict=False):
            mean = found.frame("used", f"{arm} depth {depth}").mean(axis=1)
            if len(mean):
                used.plot(mean, color=colour, ls=style, lw=1.6, label=f"{plain(arm)}, {depth} layers")
    skill.set_xticks(depths)
    skill.set_ylim(-0.25, 1.08)
    skill.legend(fontsize=8, frameon=False)
    dress(skill, "trained: one seed a dot", "depth", "skill")
    used.axhline(0, color=FAINT, lw=0.8, zorder=0)
    used.legend(fontsize=7, frameon=False)
    dress(used, "trained: without the mean of each position", "layer as a share of the depth", "skill lost")
    return figure
