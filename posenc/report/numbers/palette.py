"""One colour, dash and marker for each arm, the same in every figure."""

import colorsys
import html
from collections.abc import Sequence
from dataclasses import dataclass

from posenc.report.numbers.facets import Facet

INK, FAINT, GRID, SHADE = "#1f2933", "#7b8794", "#e4e7eb", "#f1f4f8"
BASELINE = "#6b7280"
FEW = ("#2b6cb0", "#dd7a1f", "#2f855a", "#b83b4b", "#6b46a3", "#12929a", "#c05a8e", "#8a7322", "#5a3e2b", "#3f51b5")
DASHES = ("solid", "dash", "dot", "dashdot")
MARKERS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "pentagon")


@dataclass(frozen=True)
class Style:
    """How an arm is drawn; names as plotly has them."""

    colour: str
    dash: str
    marker: str


def shown(text: str) -> str:
    """Text for plotly, which reads some tags; quotes it would show as they are escaped."""
    return html.escape(text, quote=False)


def styles(facets: Sequence[Facet], baseline: str) -> dict[str, Style]:
    """By arm. The colour is the encoding's; arms of one encoding differ in dash and marker; the baseline is grey."""
    arms = {arm: facet.encoding(arm) for facet in facets for arm in facet.arms}
    encodings = sorted({*arms.values()} - {baseline})
    colours = {baseline: BASELINE} | {name: _colour(k, len(encodings)) for k, name in enumerate(encodings)}
    variants: dict[str, int] = {}
    found: dict[str, Style] = {}
    for arm in sorted(arms, key=lambda arm: (arms[arm], arm)):
        encoding = arms[arm]
        k = variants[encoding] = variants.get(encoding, -1) + 1
        many = encodings.index(encoding) // len(FEW) if len(encodings) > len(FEW) and encoding in encodings else 0
        dash = DASHES[1] if encoding == baseline and k == 0 else DASHES[(k + many) % len(DASHES)]
        found[arm] = Style(colours[encoding], dash, MARKERS[(k + many) % len(MARKERS)])
    return found


def _colour(k: int, n: int) -> str:
    if n <= len(FEW):
        return FEW[k]
    lightness = (0.38, 0.52, 0.45)[k % 3]
    rgb = colorsys.hls_to_rgb((k * 0.381966) % 1, lightness, (0.62, 0.55, 0.75)[k % 3])
    return "#" + "".join(f"{round(255 * part):02x}" for part in rgb)
