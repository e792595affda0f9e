"""The style of all figures: colours and markers of encodings, fonts, line colours and widths. See docs/figures.md.

An encoding has the hue of its family in every figure, report and page; two arms in one figure never share a colour. On
each background any two colours differ by ΔE ≥ 12 (CIE 1976, D65) for normal, deuteranopic and protanopic eyes, and
have a contrast ≥ 3 with the background (WCAG 2.1); tests/test_style.py computes both. matplotlib is imported only when
something is drawn.
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
"""Width of every picture in inches. README and GitHub show it 830 px wide, so a point is 1.39 px."""
CARD = 3.5
"""Width of a picture for TensorBoard in inches. TensorBoard shows it about 330 px wide, so a point is 1.31 px."""
DPI = 200
SMALL, TEXT, TITLE = 7.0, 8.0, 9.5
"""Font sizes in points. The smallest is 9.7 px if a picture is 830 px wide."""

GROUND, INK, FAINT, GRID, SHADE = "#ffffff", "#1f2933", "#687380", "#e4e7eb", "#edf1f7"
CEILING = "#7b8794"
"""The colour of ceilings and other references, which are dotted."""
QUIET = "#8a94a0"
"""The colour of arms beyond the first `FRONT`."""
ACCENT, SECOND = "#2c6ccc", "#b26305"
"""The colours of two quantities of one model."""
WHITE = "#fefefe"
"""The colour of text on dark cells, on any background."""
FRONT = 8
"""The number of arms in colour. Other arms are grey and behind them."""
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
"""The shades of each family on a light background; the first differ most."""
ON_DARK = {
    "rotary": ("#34a0fa", "#326f89", "#0c61dc", "#7ebcf1", "#536fa8", "#2265c5", "#6c8da0", "#5d7ed1"),
    "absolute": ("#6dae64", "#bffa78", "#a9d5c5", "#6a7659", "#c1f7ac"),
    "decay": ("#fca14b", "#b08f7b", "#97591c", "#d9b48a"),
    "relative": ("#ed80d3", "#c92947", "#a68388", "#8a626e"),
    "content": ("#56e3f9", "#35a8c7"),
    "own": ("#a38933", "#d8dab7", "#e6c97b"),
    "none": ("#9ba7ae",),
}
"""The shades on a dark background, in the order of `COLOURS`."""
DARK = {
    GROUND: "#14181d", INK: "#e6eaee", FAINT: "#a0abb7", GRID: "#2a323b", SHADE: "#1f2730", CEILING: "#8b96a3",
    QUIET: "#707b88",
} | {light: dark for name in COLOURS for light, dark in zip(COLOURS[name], ON_DARK[name], strict=True)}  # fmt: skip
"""{colour on a light background: colour on a dark background}."""

FAMILIES: dict[str, list[str]] = tomllib.loads(files("posenc.figures").joinpath("families.toml").read_text())
"""{family: its encodings}. The k-th encoding of a family has the k-th shade."""
SHADES = sum(len(shades) for name, shades in COLOURS.items() if name != "none")
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "p")
DASHES = ("solid", "dashed", "dotted", "dashdot")


@dataclass(frozen=True)
class Style:
    """How an arm is drawn, in matplotlib's names. A `quiet` arm is grey, and its line has no label."""

    colour: str
    marker: str
    dash: str = "solid"
    quiet: bool = False


def home(encoding: str) -> tuple[str, int]:
    """(family, index in the family) of an encoding.

    A user's encoding has the family of the longest known name that its name contains (`rope_mine`: `rope`), otherwise
    the family `own`. Its index is a checksum of its name, so that its colour is always the same.
    """
    for family, members in FAMILIES.items():
        if encoding in members:
            return family, members.index(encoding)
    parts = f"_{encoding.lower()}_"
    names = sorted((name for members in FAMILIES.values() for name in members if name != "none"), key=len)
    kin = next((name for name in reversed(names) if f"_{name}_" in parts), None)
    return home(kin)[0] if kin else "own", crc32(encoding.encode())


def styles(arms: Mapping[str, str], most: int = FRONT) -> dict[str, Style]:
    """The style of each arm; `arms` is {arm: encoding}, the most important first. Only the first `most` have colours.

    An arm has its encoding's colour. If that is taken, it has the next free shade of its family, or of another family.
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
    """A colour for each name. Names that are no encoding get the hues in turn, unused hues first."""
    names = list(names)
    known = {name: name for name in names if home(name)[0] != "own"}
    found = {name: style.colour for name, style in styles(known, SHADES).items()}
    used = {home(name)[0] for name in known}
    hues = [COLOURS[family] for family in sorted(COLOURS, key=lambda family: family in used) if family != "none"]
    order = [shades[k] for k in range(max(map(len, hues))) for shades in hues if k < len(shades)]
    free = itertools.cycle([colour for colour in order if colour not in found.values()] or order)
    return {name: found.get(name) or next(free) for name in names}


def shades(count: int) -> list[str]:
    """Colours of ordered things such as heads, layers or lengths: viridis, from dark to light."""
    import matplotlib as mpl
    from matplotlib.colors import to_hex

    return [to_hex(mpl.colormaps["viridis"](0.8 * k / max(1, count - 1))) for k in range(count)]


@contextmanager
def look(name: str = "") -> Iterator[None]:
    """Inside, matplotlib draws in posenc's style, parses no formulas, and does not warn of missing glyphs.

    name  part of the ids in an SVG, so that SVGs on one page have different ids
    """
    import matplotlib as mpl  # a late import, because it takes seconds

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
    """Write `path`.png and `path`.svg. Equal figures give equal bytes."""
    with look(path.name):
        png, svg = pictures(figure)
    write_bytes(path.with_name(f"{path.name}.png"), png)
    write_bytes(path.with_name(f"{path.name}.svg"), svg.encode())


def pictures(figure: "Figure") -> tuple[bytes, str]:
    """A figure as PNG and as SVG, with one layout."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    figure.set_dpi(DPI)
    picture, drawing = io.BytesIO(), io.BytesIO()
    FigureCanvasAgg(figure).print_png(picture, pil_kwargs={"compress_level": 2})
    figure.set_layout_engine("none")
    FigureCanvasSVG(figure).print_svg(drawing, metadata={"Date": None})
    return picture.getvalue(), finish(drawing.getvalue().decode())
