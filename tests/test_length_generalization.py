"""AULC and k₅₀ in closed form, and as properties."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posenc.statistics.length import aulc, k50, summarise

MULTIPLES = (1, 1.5, 2, 4, 8)
skills = st.lists(st.floats(-0.5, 1), min_size=5, max_size=5)


def test_a_constant_skill_is_its_own_area() -> None:
    for value in (-0.1, 0.0, 0.7, 1.0):
        assert aulc(dict.fromkeys(MULTIPLES, value)) == pytest.approx(value)


def test_a_skill_linear_in_log_length_halves_in_the_middle() -> None:
    line = {k: 1 - math.log2(k) / 3 for k in MULTIPLES}
    assert aulc(line) == pytest.approx(0.5)
    assert k50(line) == pytest.approx(2**1.5)


@given(skills, st.floats(0.1, 2), st.floats(-1, 1))
def test_aulc_is_linear_and_between_the_extremes(values: list[float], scale: float, shift: float) -> None:
    plain = aulc(dict(zip(MULTIPLES, values, strict=True)))
    moved = aulc(dict(zip(MULTIPLES, [scale * value + shift for value in values], strict=True)))
    assert plain is not None
    assert moved == pytest.approx(scale * plain + shift, abs=1e-9)
    assert min(values) - 1e-12 <= plain <= max(values) + 1e-12


@given(skills)
def test_k50_lies_where_skill_crosses_one_half(values: list[float]) -> None:
    found = k50(dict(zip(MULTIPLES, values, strict=True)))
    if values[0] <= 0.5 or min(values) > 0.5:
        assert found is None
        return
    first = next(i for i, value in enumerate(values) if value <= 0.5)
    assert found is not None
    assert MULTIPLES[first - 1] - 1e-9 <= found <= MULTIPLES[first] + 1e-9


def test_what_is_unknown_is_none() -> None:
    assert aulc({1: 1.0}) is None
    assert aulc({1: 1.0, 2: None, 4: 0.5}) is None
    assert aulc({1.5: 1.0, 3: 1.0}) is None
    assert k50({1: 1.0, 2: None, 4: 0.0}) == pytest.approx(2)  # half way in log length between 1 and 4
    assert summarise(10, {10: None, 20: None}) == {}
    assert summarise(10, {10: 1.0, 20: 1.0, 40: None}) == {"aulc": None, "k50": None, "tested_to": 2.0}
    assert summarise(10, {5: 0.9, 10: 1.0, 20: 0.0})["aulc"] == pytest.approx(0.5)  # shorter ones do not count
