"""The figure of rank collapse: the ratio of Dong by layer, and the phase diagram of logit gain and skip strength."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from posenc.diagnostics import Decay
from posenc.diagnostics.decay import FLOOR
from posenc.figures.style import INK
from posenc.statistics.measurements import Measurements
from posenc.studies.method.curves import band, colours, dress, plain


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
        dress(axis, title, "layer", size=10)
    axes[0].set_ylabel("ratio of Dong: 0 where all tokens are one vector", color=INK)
    _phase(figure, axes[-1], found, gains, skips, layers)
    return figure


def _curves(axis: Axes, found: Measurements, decays: Mapping[str, Decay], arms: Sequence[str]) -> None:
    """log10 of the ratio: one exponential is a straight line, two a plunge."""
    ends: list[tuple[float, float, str, np.ndarray]] = []
    for arm, colour in colours(arms).items():
        rows = found.frame("log10_dong_ratio", arm).iloc[: decays[arm].layers + 1]
        band(axis, rows, colour, 0.2, lw=1.8, marker="o", ms=3)
        text = f"{plain(arm)} ({decays[arm].kind.split()[0]})"
        ends.append((rows.index[-1], rows.iloc[-1].mean(), text, colour))
    last = max(x for x, *_ in ends)
    height = 1.2
    for _, y, text, colour in sorted((end for end in ends if end[0] == last), key=lambda end: -end[1]):
        height = min(y, height - 0.75)  # names beside the right ends, moved apart where they would touch
        axis.annotate(text, (last * 1.02, height), fontsize=8, color=colour, va="center")
    fallen = [axis.lines[i] for i, (x, *_) in enumerate(ends) if x != last]
    axis.legend(fallen, [text for x, _, text, _ in ends if x != last], fontsize=8, frameon=False,
                loc="lower right", bbox_to_anchor=(1, 0.24), labelcolor="linecolor")  # fmt: skip
    axis.axhspan(-17, np.log10(FLOOR), color="#eeeeee", zorder=0)
    axis.annotate("rounding errors of float64", (last, -16.4), fontsize=7, color="#777777", ha="right")
    axis.set_ylim(-17, 0.6)
    ticks = [0, -3, -6, -9, -12, -15]
    axis.set_yticks(ticks, ["1"] + [f"$10^{{{tick}}}$" for tick in ticks[1:]])
    axis.set_xlim(-0.3, last * 1.55)
    axis.set_xticks(range(0, int(last) + 1, 4))


def _phase(
    figure: Figure, axis: Axes, found: Measurements, gains: Sequence[float], skips: Sequence[float], layers: int
) -> None:
    """Colour: how alike the tokens are after the last layer. Lines: entropy of the attention in it."""

    def grid(quantity: str) -> np.ndarray:
        return np.array([[found.mean(quantity, f"gain {gain:g}", skip) for skip in skips] for gain in gains])

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
