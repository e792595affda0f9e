"""Rank collapse: whether self-attention makes tokens equal, how fast, and what prevents it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.progress import track
from rich.table import Table

from posenc import checks, terminal
from posenc.diagnostics import Decay, attention_entropy, capture, decay, dong_ratio, effective_rank, token_cosine
from posenc.diagnostics.decay import FLOOR
from posenc.figures.marks import colourbar, dress, heat, name_lines, power, sheet
from posenc.figures.style import FAINT, SECOND, SHADE, SMALL, tones
from posenc.model.encoder import Encoder
from posenc.statistics.claims import Verdict
from posenc.statistics.measurements import Measurements
from posenc.studies.method.base import Arm, Study, draw_tokens
from posenc.studies.method.curves import band, curves, label, plain


@dataclass(eq=False)
class RankCollapse(Study):
    """The ratio of Dong by layer for each arm, the order of its decay, and a phase diagram of two options.

    Arms are pure attention, as in the theorem, unless their options add skip connections, an MLP or norms.

        log10_dong_ratio, token_cosine, effective_rank   means over sequences, `at` the layer; 0 is the input
        attention_entropy   of layer `at`, from 1
        order               slope of log r_{l+1} on log r_l (posenc.diagnostics.decay), `at` 0
        phase_log10_dong_ratio, phase_entropy   the ratio after the last and the entropy in the last of `phase_layers`
                            layers of pre-norm attention without an MLP, arm "gain <β>", `at` the skip strength γ

    panels     {title of a panel: its arms}
    flat       the largest factor r_{l+1} / r_l that counts as decay
    gains      logit gains β
    skips      skip strengths γ of x ← γ x + attention(LN x)
    """

    panels: Mapping[str, Sequence[str]]
    dim: int
    num_heads: int
    layers: int
    length: int
    batch: int
    vocab_size: int
    flat: float
    gains: Sequence[float]
    skips: Sequence[float]
    phase_layers: int
    phase_seeds: int

    def __post_init__(self) -> None:
        """Check the options."""
        super().__post_init__()
        checks.positive(self, layers=self.layers, batch=self.batch, vocab_size=self.vocab_size)
        checks.positive(self, minimum=2, length=self.length)
        checks.positive(self, phase_layers=self.phase_layers, phase_seeds=self.phase_seeds)
        checks.number(self, low=0, high=1, flat=self.flat)
        for arm in (name for names in self.panels.values() for name in names):
            checks.one_of(self, self.arms, arm=arm)
        self.gains, self.skips = [*map(float, self.gains)], [*map(float, self.skips)]
        self.options: dict[str, Any] = {
            "vocab_size": self.vocab_size, "num_outputs": 1, "dim": self.dim, "num_heads": self.num_heads
        }  # fmt: skip

    def measure(self, seed: int) -> Measurements:
        """Measure every arm with every seed, then the phase diagram."""
        found = Measurements()
        pure = {"norm": "none", "residual": False, "mlp_ratio": 0, "num_layers": self.layers}
        runs = list(product(self.arms.items(), range(seed, seed + self.seeds)))
        for (name, arm), each in track(runs, "arms", transient=True):
            self._arm(found, name, arm.build(each, **(self.options | pure)), each)
        cells = list(product(self.gains, self.skips, range(seed, seed + self.phase_seeds)))
        for gain, skip, each in track(cells, "phase diagram", transient=True):
            self._cell(found, gain, skip, each)
        return found

    def _arm(self, found: Measurements, name: str, encoder: Encoder, seed: int) -> None:
        with torch.no_grad(), capture(encoder) as seen:
            encoder(draw_tokens(seed, self.batch, self.length, self.vocab_size))
        ratios = [float(dong_ratio(stream).log10().mean()) for stream in seen.streams]
        for layer, (ratio, stream) in enumerate(zip(ratios, seen.streams, strict=True)):
            found.add("log10_dong_ratio", name, layer, seed, ratio)
            found.add("token_cosine", name, layer, seed, float(token_cosine(stream).mean()))
            found.add("effective_rank", name, layer, seed, float(effective_rank(stream).mean()))
        for layer, record in enumerate(seen.attention, 1):
            entropy = attention_entropy(record.weights, record.logits)
            found.add("attention_entropy", name, layer, seed, float(entropy.mean()))
        found.add("order", name, 0, seed, decay(10.0 ** np.array(ratios), self.flat).order)

    def _cell(self, found: Measurements, gain: float, skip: float, seed: int) -> None:
        shape = {"norm": "pre", "mlp_ratio": 0, "num_layers": self.phase_layers}
        encoder = Arm().build(seed, **(self.options | shape | {"residual": skip, "logit_gain": gain}))
        with torch.no_grad(), capture(encoder) as seen:
            encoder(draw_tokens(seed, self.batch, self.length, self.vocab_size))
        entropy = attention_entropy(seen.attention[-1].weights).mean()
        ratio = float(dong_ratio(seen.streams[-1]).clamp(min=FLOOR).log10().mean())
        found.add("phase_log10_dong_ratio", f"gain {gain:g}", skip, seed, ratio)
        found.add("phase_entropy", f"gain {gain:g}", skip, seed, float(entropy))

    def decays(self, found: Measurements) -> dict[str, Decay]:
        """The decay of each arm's ratio, averaged geometrically over seeds."""
        means = {
            name: [10 ** found.mean("log10_dong_ratio", name, at) for at in range(self.layers + 1)]
            for name in self.arms
        }
        return {name: decay(row, self.flat) for name, row in means.items()}

    def summary(self, found: Measurements) -> dict[str, Any]:
        """The attributes of each arm's decay."""
        return {name: vars(fit) for name, fit in self.decays(found).items()}

    def tables(self, found: Measurements) -> Iterator[Table]:
        """One row for each arm."""
        title = "Ratio of Dong by layer: 0 if all tokens are equal"
        last = self.layers
        heads = "after 3", f"after {last}", "decay", "misfit: 1, 2", "order"
        table = terminal.table(title, "arm", *heads, left=["decay"])
        for name, fit in self.decays(found).items():
            orders = [*found.sample("order", name, 0).values()]
            table.add_row(
                plain(name),
                *(_power(found.mean("log10_dong_ratio", name, layer)) for layer in (min(3, last), last)),
                fit.kind.split()[0],
                ", ".join(f"{value:.2f}" for value in fit.residual.values()),
                f"{np.mean(orders):.2f} ± {np.std(orders):.2f}",
            )
        table.caption = "misfit of a single and of a double exponential, as a share of the range of log r"
        yield table

    def headline(self, axis: Axes, found: Measurements) -> None:
        """Ratio of Dong by layer, of the first panel's arms and of the last arm."""
        names = [*next(iter(self.panels.values())), [*self.arms][-1]]
        curves(axis, found, "log10_dong_ratio", {name: name for name in names})
        axis.set_ylim(-13, 0.5)
        label(axis, "layer", "log10 of the ratio of Dong (0: different tokens)")

    def figure(self, found: Measurements, verdicts: Sequence[Verdict]) -> Figure:
        """One panel of curves for each group of arms, then the phase diagram."""
        decays = self.decays(found)
        figure, axes = sheet(len(self.panels) + 1, 1, 3.2)
        for axis, (title, arms) in zip(axes, self.panels.items(), strict=False):
            _curves(axis, found, decays, arms)
            dress(axis, title, "layer")
            axis.set_ylabel("ratio of Dong: 0 if all tokens are equal")
        self._phase(axes[-1], found)
        return figure

    def _phase(self, axis: Axes, found: Measurements) -> None:
        """Colours are the ratio of Dong after the last layer; lines are the entropy of its attention."""

        def grid(quantity: str) -> np.ndarray:
            return np.array(
                [[found.mean(quantity, f"gain {gain:g}", skip) for skip in self.skips] for gain in self.gains]
            )

        ratio, entropy = grid("phase_log10_dong_ratio"), grid("phase_entropy")
        image = heat(axis, ratio, -6, 0, origin="lower", aspect="auto")
        lines = axis.contour(entropy, levels=[0.25, 0.5, 0.75, 0.95], colors=SECOND, linewidths=1.3)
        axis.clabel(lines, fontsize=SMALL, fmt=lambda value: f"H = {value:g}")
        for names, put in ((self.skips, axis.set_xticks), (self.gains, axis.set_yticks)):
            step = -(-len(names) // 9)
            put(range(0, len(names), step), [f"{name:.3g}" for name in names[::step]])
        axis.set_xlabel("skip strength γ in  γ x + attention(LN x)")
        axis.set_ylabel("logit gain β")
        axis.set_title(f"{self.phase_layers} layers of attention, pre-norm")
        colourbar(image, axis, "log10 ratio of Dong after the last layer\nlines: attention entropy H", extend="min")


def _power(log10: float) -> str:
    return f"{10**log10:.1e}" if 10**log10 > FLOOR else f"< {FLOOR:.0e}"


def _curves(axis: Axes, found: Measurements, decays: Mapping[str, Decay], arms: Sequence[str]) -> None:
    """Draw log10 of the ratio. A straight line is an exponential; one that bends down is a double exponential."""
    for arm, colour in tones(arms).items():
        rows = found.frame("log10_dong_ratio", arm).iloc[: decays[arm].layers + 1]
        band(axis, rows, colour, 0.2, marker="o", ms=3, label=f"{plain(arm)} ({decays[arm].kind.split()[0]})")
    last = max(decays[arm].layers for arm in arms)
    axis.axhspan(-17, np.log10(FLOOR), color=SHADE, zorder=0)
    axis.annotate("rounding errors of float64", (last, -16.4), color=FAINT, ha="right")
    axis.set_ylim(-17, 0.6)
    ticks = [0, -3, -6, -9, -12, -15]
    axis.set_yticks(ticks, ["1"] + [power(tick) for tick in ticks[1:]])
    axis.set_xlim(-0.3, last * 1.02)
    axis.set_xticks(range(0, int(last) + 1, 4))
    name_lines(axis, 2.6)
