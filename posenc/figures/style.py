"""The visual language: one colour and marker for each encoding, and one type, ink and width for all pictures.

docs/figures.md shows it. An encoding has the hue of its family in every figure, report and page; two arms in one
figure never share a colour. Any two colours of one ground differ by ΔE ≥ 12 (CIE 1976, D65) as seen by normal,
deuteranopic and protanopic eyes, and stand out from the ground by a contrast ≥ 3 (WCAG 2.1); tests/test_style.py
computes both. Nothing here imports matplotlib before something is drawn.
"""

import io
import itertools
import tomllib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

from posenc.figures.vectors import finish
from posenc.runs.writing import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 8.3
"""Inches of every picture. README and GitHub show it at 830 px, so that a point is 1.39 px."""
CARD = 3.5
"""Inches of a picture for TensorBoard, which shows it about 330 px wide: a point is 1.31 px."""
DPI = 200
SMALL, TEXT, TITLE = 7.0, 8.0, 9.5
"""Points; the smallest type is 9.7 px where a picture is shown 830 px wide."""

GROUND, INK, FAINT, GRID, SHADE = "#ffffff", "#1f2933", "#687380", "#e4e7eb", "#edf1f7"
CEILING = "#7b8794"
"""What is achievable, and other references: dotted, in a grey of their own."""
QUIET = "#8a94a0"
"""Arms that are not in front."""
ACCENT, SECOND = "#2c6ccc", "#b26305"
"""Two quantities of one model; no encodings."""
WHITE = "#fefefe"
"""Letters on dark cells, whatever the ground is."""
FRONT = 8
"""Arms in colour; more are drawn grey behind them."""
NEUTRAL = "#5b6470"

COLOURS = {
    "rotary": ("#2c6ccc", "#254779", "#7090d2", "#1260a4", "#1c2e76", "#3685ff", "#5b8eea", "#0c61dc"),
    "absolute": ("#2a7138", "#113729", "#039626", "#267050", "#1f9143"),
    "decay": ("#b26305", "#471001", "#a57d73", "#d9755c"),
    "relative": ("#de388c", "#5e2bab", "#4e0c54", "#370880"),
    "content": ("#3e9da8", "#0f4953"),
    "own": ("#72550d", "#47492c", "#433f06"),
    "none": (NEUTRAL,),
}
"""The shades of each family on a light ground, the farthest apart first."""
ON_DARK = {
    "rotary": ("#34a0fa", "#326f89", "#0c61dc", "#7ebcf1", "#536fa8", "#2265c5", "#6c8da0", "#5d7ed1"),
    "absolute": ("#6dae64", "#bffa78", "#a9d5c5", "#6a7659", "#c1f7ac"),
    "decay": ("#fca14b", "#b08f7b", "#97591c", "#d9b48a"),
    "relative": ("#ed80d3", "#c92947", "#a68388", "#8a626e"),
    "content": ("#56e3f9", "#35a8c7"),
    "own": ("#a38933", "#d8dab7", "#e6c97b"),
    "none": ("#9ba7ae",),
}
"""The same on a dark ground, shade for shade."""
DARK = {
    GROUND: "#14181d", INK: "#e6eaee", FAINT: "#a0abb7", GRID: "#2a323b", SHADE: "#1f2730", CEILING: "#8b96a3",
    QUIET: "#707b88",
} | {light: dark for name in COLOURS for light, dark in zip(COLOURS[name], ON_DARK[name], strict=True)}  # fmt: skip
"""{colour on a light ground: on a dark one}."""

FAMILIES: dict[str, list[str]] = tomllib.loads(files("posenc.figures").joinpath("families.toml").read_text())
"""{family: its encodings}. A place in its family is an encoding's shade."""
SHADES = sum(len(shades) for name, shades in COLOURS.items() if name != "none")
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "p")
DASHES = ("solid", "dashed", "dotted", "dashdot")


@dataclass(frozen=True)
class Style:
    """How an arm is drawn, in matplotlib's names; `quiet`: not in front, so grey and without a name at its line."""

    colour: str
    marker: str
    dash: str = "solid"
    quiet: bool = False


def home(encoding: str) -> tuple[str, int]:
    """(family, place in it) of an encoding.

    One that is in no family has that of the longest encoding whose name it contains (`rope_mine`: `rope`), else the
    family `own`; its place comes from its name, so that it keeps its colour.
    """
    for family, members in FAMILIES.items():
        if encoding in members:
            return family, members.index(encoding)
    parts = f"_{encoding.lower()}_"
    names = sorted((name for members in FAMILIES.values() for name in members if name != "none"), key=len)
    kin = next((name for name in reversed(names) if f"_{name}_" in parts), None)
    return home(kin)[0] if kin else "own", crc32(encoding.encode())


def styles(arms: Mapping[str, str], most: int = FRONT) -> dict[str, Style]:
    """The style of each arm; `arms` is {arm: encoding}, the most important first.

    An arm has its encoding's colour. Where two would share one, the later takes the next shade of its family that is
    free, or of another family where all are taken. Only the first `most` arms are in front.
    """
    front = list(arms)[: min(most, SHADES)]
    taken: set[str] = set()
    found: dict[str, Style] = {}
    number: dict[str, int] = {}
    order = [*FAMILIES]
    for arm in sorted(front, key=lambda arm: (order.index(home(arms[arm])[0]), home(arms[arm])[1], arm)):
        encoding = arms[arm]
        family, place = home(encoding)
        own = COLOURS[family]
        shades = [own[(place + step) % len(own)] for step in range(len(own))]
        others = [shade for name in ("own", *COLOURS) if name not in (family, "none") for shade in COLOURS[name]]
        colour = next(shade for shade in (*shades, *others) if shade not in taken)
        taken.add(colour)
        number[encoding] = number.get(encoding, -1) + 1
        dash = DASHES[(number[encoding] + (family == "none")) % len(DASHES)]
        found[arm] = Style(colour, MARKERS[place % len(MARKERS)], dash)
    return found | {
        arm: Style(QUIET, MARKERS[home(arms[arm])[1] % len(MARKERS)], quiet=True) for arm in arms if arm not in found
    }


def tones(names: Iterable[str]) -> dict[str, str]:
    """A colour for each name: that of its encoding, else one of each hue in turn, those of no family here first."""
    names = list(names)
    known = {name: name for name in names if home(name)[0] != "own"}
    found = {name: style.colour for name, style in styles(known, SHADES).items()}
    used = {home(name)[0] for name in known}
    hues = [COLOURS[family] for family in sorted(COLOURS, key=lambda family: family in used) if family != "none"]
    order = [shades[k] for k in range(max(map(len, hues))) for shades in hues if k < len(shades)]
    free = itertools.cycle([colour for colour in order if colour not in found.values()] or order)
    return {name: found.get(name) or next(free) for name in names}


def shades(count: int) -> list[str]:
    """Colours of things in an order, such as heads, layers or lengths: dark to light, of one scale (viridis)."""
    import matplotlib as mpl
    from matplotlib.colors import to_hex

    return [to_hex(mpl.colormaps["viridis"](0.8 * k / max(1, count - 1))) for k in range(count)]


@contextmanager
def look(name: str = "") -> Iterator[None]:
    """Type and inks of all pictures; names are never read as formulas, and a glyph may be missing.

    name  makes the ids inside an SVG differ from those of another one on the same page
    """
    import matplotlib as mpl  # seconds, which a training need not pay

    settings: dict[Any, Any] = {
        "font.size": TEXT, "axes.titlesize": TEXT, "axes.titlelocation": "left", "axes.titleweight": "bold",
        "axes.labelsize": TEXT, "axes.labelcolor": INK, "text.color": INK, "axes.titlecolor": INK,
        "xtick.labelsize": SMALL, "ytick.labelsize": SMALL, "xtick.color": FAINT, "ytick.color": FAINT,
        "xtick.labelcolor": INK, "ytick.labelcolor": INK, "xtick.major.size": 3, "ytick.major.size": 3,
        "axes.edgecolor": CEILING, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
        "grid.color": GRID, "grid.linewidth": 0.7, "axes.axisbelow": True, "axes.titlepad": 6, "axes.facecolor": "none",
        "text.parse_math": False, "svg.fonttype": "none", "svg.hashsalt": f"posenc {name}", "legend.frameon": False,
        "legend.fontsize": SMALL, "figure.facecolor": GROUND, "savefig.facecolor": GROUND, "figure.titlesize": TITLE,
        "figure.titleweight": "bold", "lines.linewidth": 1.6, "lines.markersize": 3.6,
    }  # fmt: skip
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        warnings.filterwarnings("ignore", message="constrained_layout not applied")  # many panels with long names
        yield


def save(figure: "Figure", path: Path) -> None:
    """Write `path`.png and `path`.svg, the same bytes from the same numbers."""
    with look(path.name):
        png, svg = pictures(figure)
    write_bytes(path.with_name(f"{path.name}.png"), png)
    write_bytes(path.with_name(f"{path.name}.svg"), svg.encode())


def pictures(figure: "Figure") -> tuple[bytes, str]:
    """A figure as PNG and as SVG, laid out once for both."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    figure.set_dpi(DPI)
    picture, drawing = io.BytesIO(), io.BytesIO()
    FigureCanvasAgg(figure).print_png(picture, pil_kwargs={"compress_level": 2})
    figure.set_layout_engine("none")
    FigureCanvasSVG(figure).print_svg(drawing, metadata={"Date": None})
    return picture.getvalue(), finish(drawing.getvalue().decode())
