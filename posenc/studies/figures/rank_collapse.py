"""The figure of rank collapse: the ratio of Dong by layer, and the phase diagram of logit gain and skip strength."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from posenc.diagnostics import Decay
from posenc.diagnostics.decay import FLOOR
from posenc.figures.style import INK
from posenc.statistics.measurements import Measurements


def draw(
    found: Measurements,
    decays: Mapping[str, Decay],
    panels: Mapping[str, Sequence[str]],
    gains: Sequence[float],
    skips: Sequence[float],
    layers: int,
) -> Figure:
    """One panel of curves for each group of arms, then the phase diagram."""
    figure = Figure(figsize=(5.0 * len(panels) + 4.6, 4.6), layout="constrained")
    axes = figure.subplots(1, len(panels) + 1, width_ratios=[5.0] * len(panels) + [4.2], squeeze=False)[0]
    for axis, (title, arms) in zip(axes, panels.items(), strict=False):
        _curves(axis, found, decays, arms)
        axis.set_title(title, fontsize=10, color=INK, loc="left")
    axes[0].set_ylabel("ratio of Dong: 0 where all tokens are one vector", color=INK)
    _phase(figure, axes[-1], found, gains, skips, layers)
    return figure


def _curves(axis: Axes, found: Measurements, decays: Mapping[str, Decay], arms: Sequence[str]) -> None:
    """log10 of the ratio: one exponential is a straight line, two a plunge."""
    colours = matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, len(arms)))
    ends: list[tuple[float, float, str]] = []
    for arm, colour in zip(arms, colours, strict=True):
        rows = found.along("log10_dong_ratio", arm)
        layer = np.array([*rows])
        values = np.array([[*sample.values()] for sample in rows.values()])
        mean, deviation = values.mean(1), values.std(1)
        shown = slice(0, min(len(mean), decays[arm].layers + 1))
        axis.plot(layer[shown], mean[shown], color=colour, lw=1.8, marker="o", ms=3)
        axis.fill_between(
            layer[shown], (mean - deviation)[shown], (mean + deviation)[shown], color=colour, alpha=0.2, lw=0
        )
        ends.append((layer[shown][-1], mean[shown][-1], f"{arm.replace('_', ' ')} ({decays[arm].kind.split()[0]})"))
    last = max(x for x, _, _ in ends)
    _label(axis, [end for end in ends if end[0] == last], colours[[x == last for x, _, _ in ends]], last)
    fallen = [axis.lines[i] for i, (x, _, _) in enumerate(ends) if x != last]
    axis.legend(fallen, [text for x, _, text in ends if x != last], fontsize=8, frameon=False,
                loc="lower right", bbox_to_anchor=(1, 0.24), labelcolor="linecolor")  # fmt: skip
    axis.axhspan(-17, np.log10(FLOOR), color="#eeeeee", zorder=0)
    axis.annotate("rounding errors of float64", (last, -16.4), fontsize=7, color="#777777", ha="right")
    axis.set_ylim(-17, 0.6)
    ticks = [0, -3, -6, -9, -12, -15]
    axis.set_yticks(ticks, ["1"] + [f"$10^{{{tick}}}$" for tick in ticks[1:]])
    axis.set_xlim(-0.3, last * 1.55)
    axis.set_xticks(range(0, int(last) + 1, 4))
    axis.set_xlabel("layer", color=INK)
    axis.spines[["top", "right"]].set_visible(False)


def _label(axis: Axes, ends: Sequence[tuple[float, float, str]], colours: np.ndarray, last: float) -> None:
    """Names beside the right ends of the curves, moved apart where they would touch."""
    order = sorted(range(len(ends)), key=lambda i: -ends[i][1])
    height = 1.2
    for i in order:
        _, y, text = ends[i]
        height = min(y, height - 0.75)
        axis.annotate(text, (last * 1.02, height), fontsize=8, color=colours[i], va="center")


def _phase(
    figure: Figure, axis: Axes, found: Measurements, gains: Sequence[float], skips: Sequence[float], layers: int
) -> None:
    """Colour: how alike the tokens are after the last layer. Lines: entropy of the attention in it."""

    def grid(quantity: str) -> np.ndarray:
        rows = [found.along(quantity, f"gain {gain:g}") for gain in gains]
        return np.array([[np.mean([*row[skip].values()]) for skip in skips] for row in rows])

    ratio, entropy = grid("phase_log10_dong_ratio"), grid("phase_entropy")
    image = axis.imshow(ratio, cmap="viridis", vmin=-6, vmax=0, origin="lower", aspect="auto")
    lines = axis.contour(entropy, levels=[0.25, 0.5, 0.75, 0.95], colors="#c0392b", linewidths=1.3)
    axis.clabel(lines, fontsize=7, fmt=lambda value: f"H = {value:g}")
    for names, put in ((skips, axis.set_xticks), (gains, axis.set_yticks)):
        step = -(-len(names) // 9)
        put(range(0, len(names), step), [f"{name:.3g}" for name in names[::step]])
    axis.set_xlabel("skip strength γ in  γ x + attention(LN x)", color=INK)
    axis.set_ylabel("logit gain β", color=INK)
    axis.set_title(f"{layers} layers of attention, pre-norm", fontsize=10, color=INK, loc="left")
    bar = figure.colorbar(image, ax=axis, pad=0.02, extend="min")
    bar.set_label("log10 ratio of Dong after the last layer; lines: attention entropy H", fontsize=8, color=INK)
