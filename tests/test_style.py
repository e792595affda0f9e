"""The visual language: colours that differ for every eye, the same for an encoding everywhere, names that never touch.

Colour vision is simulated by the matrices of Viénot, Brettel & Mollon 1999 (Color Research and Application 24:243)
and of Machado, Oliveira & Fernandes 2009 at severity 1 (https://doi.org/10.1109/TVCG.2009.113), on linear sRGB.
Differences are CIE 1976 ΔE under D65, contrast is WCAG 2.1's.
"""

import random
import re
from itertools import combinations, pairwise

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_class
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from posenc.figures.marks import End, end_labels, sheet, spread
from posenc.figures.style import COLOURS, DARK, FAMILIES, FRONT, GROUND, INK, ON_DARK, home, styles
from tests.conftest import CONFIGS, ROOT

EYES = {
    "normal": np.eye(3),
    "protanopia, Viénot": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
    "deuteranopia, Viénot": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
    "protanopia, Machado": [
        [0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia, Machado": [
        [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881],
    ],
}  # fmt: skip
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
"""From linear sRGB, IEC 61966-2-1; the white is that of (1, 1, 1)."""
ALL = [name for members in FAMILIES.values() for name in members]


def linear(colour: str) -> np.ndarray:
    parts = np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear sRGB."""
    ratio = XYZ @ rgb / (XYZ @ np.ones(3))
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def seen(colour: str, eye: str) -> np.ndarray:
    return lab(np.clip(np.array(EYES[eye]) @ linear(colour), 0, 1))


def contrast(one: str, other: str) -> float:
    low, high = sorted(float(XYZ[1] @ linear(colour)) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def test_the_formulas_give_known_numbers() -> None:
    assert lab(linear("#ffffff")) == pytest.approx([100, 0, 0], abs=1e-9)
    assert lab(linear("#ff0000")) == pytest.approx([53.24, 80.09, 67.20], abs=0.01)  # as published for sRGB
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    for eye in EYES:
        assert np.sum(EYES[eye], axis=1) == pytest.approx(1, abs=1e-4)  # grey stays grey
    confused = (seen("#ff0000", "deuteranopia, Viénot") - seen("#928d00", "deuteranopia, Viénot"))[1:]
    assert np.abs(confused).max() < 25  # red and olive have nearly one hue there


def closest(colours: list[str], eye: str) -> float:
    """The smallest difference of two of these colours, for every simulation of these eyes."""
    pairs = combinations(colours, 2)
    kinds = [kind for kind in EYES if kind.startswith(eye)]
    return min(float(np.linalg.norm(seen(one, kind) - seen(other, kind))) for one, other in pairs for kind in kinds)


@pytest.mark.parametrize(("ground", "shades"), [(GROUND, COLOURS), (DARK[GROUND], ON_DARK)])
def test_any_two_colours_differ_for_every_eye_and_the_page_says_by_how_much(ground: str, shades: dict) -> None:
    colours = [shade for family in shades.values() for shade in family]
    gaps = [closest(colours, eye) for eye in ("normal", "protanopia", "deuteranopia")]
    least = min(contrast(shade, ground) for shade in colours)
    assert min(gaps) >= 12
    assert least >= 3
    name = "light" if ground == GROUND else "dark"
    row = f"| {name}, {ground} | {len(colours)} | {' | '.join(f'{gap:.1f}' for gap in gaps)} | {least:.2f} |"
    assert row in (ROOT / "docs" / "figures.md").read_text()


def test_every_ink_stands_out_from_its_ground() -> None:
    for light, dark in DARK.items():
        if light not in (GROUND, "#e4e7eb", "#edf1f7"):  # the ground, grid lines and the shade of the trained range
            assert contrast(light, GROUND) >= 3, light
            assert contrast(dark, DARK[GROUND]) >= 3, dark


@given(st.lists(st.sampled_from([*ALL, "mine", "rope_mine", "<b>"]), min_size=1, max_size=60), st.data())
def test_arms_shown_together_never_share_a_colour(names: list[str], data: st.DataObject) -> None:
    arms = {f"{name} {k}": name for k, name in enumerate(names)}
    found = styles(arms)
    front = [style.colour for style in found.values() if not style.quiet]
    assert set(found) == set(arms)
    assert len(front) == len(set(front)) == min(FRONT, len(arms))
    for arm, style in found.items():
        alone = styles({arm: arms[arm]})[arm]
        assert style.marker == alone.marker
        assert alone.colour == styles({"other name": arms[arm]})["other name"].colour


def test_encodings_of_different_shades_keep_them_together() -> None:
    firsts = [name for family, members in FAMILIES.items() for name in members[: len(COLOURS[family])]]
    draw = random.Random(0)
    for _ in range(200):
        names = draw.sample(firsts, FRONT)
        together = styles({name: name for name in names})
        assert all(together[name].colour == styles({name: name})[name].colour for name in names)


def test_scalings_of_rope_belong_together_and_differ() -> None:
    names = ["rope", "rope_yarn", "rope_linear", "rope_ntk", "rope_llama3", "rope_dynamic_ntk", "my_rope", "p_rope"]
    found = styles({name: name for name in names})
    assert {style.colour for style in found.values()} == set(COLOURS["rotary"])
    assert home("my_rope")[0] == "rotary"
    assert home("an_idea")[0] == "own"


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0.001, 0.2))
def test_names_are_a_gap_apart_in_order_and_on_the_sheet_where_there_is_room(places: list[float], gap: float) -> None:
    given_ = np.sort(places)
    found = spread(given_, gap)
    assert (np.diff(found) >= gap - 1e-9).all()
    if gap * (len(places) - 1) <= 1:
        assert found.min() >= -1e-9
        assert found.max() <= 1 + 1e-9
    if (np.diff(given_) >= gap).all():
        assert found == pytest.approx(given_, abs=1e-9)


def test_names_of_several_lines_do_not_overlap() -> None:
    """Their boxes as they are drawn, without the lines that join them to their curves."""
    figure, (axis,) = sheet(1, 1, 3.0)
    texts = ["none,\nALiBi,\nT5", "shaw", "rope,\nwindow", "fire"]
    end_labels(axis, [End(1, 0.5 + 0.01 * k, text, INK) for k, text in enumerate(texts)], 2.2)
    FigureCanvasAgg(figure).draw()
    boxes = sorted((Text.get_window_extent(text) for text in axis.texts), key=lambda box: box.y0)
    assert len(boxes) == len(texts)
    assert all(below.y1 <= above.y0 for below, above in pairwise(boxes))


def test_the_page_shows_these_families_and_colours() -> None:
    page = (ROOT / "docs" / "figures.md").read_text()
    for family, shades in COLOURS.items():
        names, light, dark = ", ".join(FAMILIES[family]) or "–", ", ".join(shades), ", ".join(ON_DARK[family])
        assert re.search(rf"^\| {family} \| [^|]* \| {names} \| {light} \| {dark} \|$", page, re.MULTILINE), family


@pytest.mark.slow
def test_families_are_what_the_encodings_do() -> None:
    """By the hooks that a class overrides and what it depends on."""
    for name in ALL:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            config = compose("train", overrides=[f"encoding={name}"])
        found = get_class(config.encoding["_target_"])
        family = home(name)[0]
        if family == "rotary":
            assert found.hooks == ("rotate",), name
        if family == "absolute":
            assert "position" in found.depends_on, name
        if family == "content":
            assert "content" in found.depends_on, name
        if family in ("decay", "relative"):
            assert {"distance", "|distance|"} & found.depends_on, name
