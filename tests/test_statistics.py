"""Statistics against other implementations, by their invariances, and by how often their intervals hold the truth."""

import itertools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from posenc.checks import ConfigError
from posenc.statistics import (
    SEEDS_FOR_INTERVAL,
    SEEDS_FOR_VERDICT,
    Interval,
    coverage,
    equivalent,
    interquartile_mean,
    label,
    mcnemar,
    mean_interval,
    paired_difference,
    paired_interquartile_difference,
    paired_interval,
    probability_of_improvement,
    sign_flip_test,
    success_rate,
)
from posenc.statistics.paired import EXACT_SEEDS

RNG = np.random.default_rng(0)
TENTHS = st.integers(-20, 20)
"""Whole numbers of tenths. Sums of tenths that are equal on paper may differ in floating point."""
ARMS = st.dictionaries(st.integers(0, 9), st.floats(-3, 3), min_size=3)


def bounds(interval: Interval) -> tuple[float, float]:
    assert interval.low is not None
    assert interval.high is not None
    return interval.low, interval.high


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("n", [3, 5, 12])
def test_t_interval_agrees_with_scipy(n: int, level: float) -> None:
    values = RNG.normal(0.7, 0.1, n)
    theirs = stats.ttest_1samp(values, 0).confidence_interval(level)
    ours = mean_interval(values, level)
    assert bounds(ours) == pytest.approx((theirs.low, theirs.high), rel=1e-12)
    assert (ours.estimate, ours.n) == (pytest.approx(values.mean()), n)


@given(st.lists(TENTHS, min_size=3, max_size=8), st.floats(-5, 5), st.sampled_from([-4.0, -0.5, 0.25, 3.0]))
def test_t_interval_moves_with_its_values(values: list[int], shift: float, scale: float) -> None:
    before, after = mean_interval(values), mean_interval(np.array(values) * scale + shift)
    expected = sorted(scale * bound + shift for bound in bounds(before))
    assert bounds(after) == pytest.approx(expected, abs=1e-9)
    assert after.estimate == pytest.approx(scale * before.estimate + shift, abs=1e-9)


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0])
def test_equal_values_give_an_interval_of_width_zero(value: float) -> None:
    assert mean_interval([value] * 3) == Interval(value, value, value, 3)


@pytest.mark.parametrize("n", range(1, 6))
def test_no_interval_below_three_seeds(n: int) -> None:
    values = list(np.linspace(0.1, 0.8, n))
    arm = dict(enumerate(values))
    for interval in (
        mean_interval(values),
        success_rate(values),
        paired_difference(arm, dict(enumerate(reversed(values)))),
        interquartile_mean([[0.0] * 5, values]),
        paired_interquartile_difference([values], [values]),
        probability_of_improvement(values, values, paired=True),
        probability_of_improvement(values, [0.5] * 5, paired=False),
    ):
        assert interval.n == n
        assert (interval.low is None) == (interval.high is None) == (n < SEEDS_FOR_INTERVAL)


def test_labels() -> None:
    assert label(SEEDS_FOR_VERDICT) == label(100) == ""
    assert label(9) == "not for verdicts (9 seeds)"
    assert label(3) == "not for verdicts (3 seeds)"
    assert label(2) == "not for verdicts (2 seeds, no interval)"
    assert label(1) == "not for verdicts (1 seed, no interval)"


def test_five_seeds_cannot_reach_five_percent_and_those_for_a_verdict_can_after_a_correction_over_eight() -> None:
    assert sign_flip_test([1, 2, 3, 4, 5]) == 0.0625
    assert 8 * sign_flip_test(range(1, SEEDS_FOR_VERDICT + 1)) < 0.05


@pytest.mark.parametrize("level", [0.8, 0.95])
@pytest.mark.parametrize("n", [3, 10, 40])
def test_success_rate_agrees_with_scipy(n: int, level: float) -> None:
    for k in range(n + 1):
        values = [0.9] * k + [0.899] * (n - k)
        theirs = stats.binomtest(k, n).proportion_ci(level, method="wilson")
        ours = success_rate(values, level=level)
        assert ours.estimate == k / n
        assert bounds(ours) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert success_rate([0.2, 0.4, 0.6, 0.8], threshold=0.5).estimate == 0.5
    assert round(bounds(success_rate([1.0] * 10))[0], 2) == 0.72  # as its docstring says


def test_an_interval_is_inside_only_as_a_whole() -> None:
    assert equivalent(Interval(0.0, -0.019, 0.019, 5), 0.02)
    assert not equivalent(Interval(0.0, -0.02, 0.01, 5), 0.02)
    assert not equivalent(Interval(0.0, -0.01, 0.02, 5), 0.02)
    assert not equivalent(Interval(0.5, 0.4, 0.6, 5), 0.02)
    assert not equivalent(Interval(0.0, None, None, 2), 0.02)


def test_equivalent_is_stricter_than_two_one_sided_tests() -> None:
    verdicts = set()
    for _ in range(300):
        d = RNG.normal(0, 0.03, 10)
        above: Any = stats.ttest_1samp(d, -0.02, alternative="greater")
        below: Any = stats.ttest_1samp(d, 0.02, alternative="less")
        tost = bool(max(above.pvalue, below.pvalue) < 0.05)
        assert equivalent(mean_interval(d, 0.9), 0.02) == tost
        verdicts.add((equivalent(mean_interval(d), 0.02), tost))
    assert verdicts == {(False, False), (False, True), (True, True)}


def test_paired_difference_agrees_with_scipy() -> None:
    a, b = {s: RNG.normal() for s in range(2, 14)}, {s: RNG.normal() for s in range(12)}
    seeds = tuple(range(2, 12))
    x, y = [a[s] for s in seeds], [b[s] for s in seeds]
    ours, theirs = paired_difference(a, b, 0.9), stats.ttest_rel(x, y).confidence_interval(0.9)
    assert bounds(ours) == pytest.approx((theirs.low, theirs.high), rel=1e-12)
    assert ours.estimate == pytest.approx(np.mean(x) - np.mean(y))
    assert ours.correlation == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert ours.p == stats.permutation_test((x, y), lambda x, y: np.mean(x - y), permutation_type="samples").pvalue
    assert (ours.n, ours.seeds) == (10, seeds)
    assert paired_interval(a, b, 0.9) == Interval(ours.estimate, ours.low, ours.high, ours.n)


def test_seeds_are_matched_by_name_and_come_in_order() -> None:
    a, b = {1000: 0.5, 7: 0.4, 33: 0.2}, {33: 0.1, 1000: 0.2, 7: 0.2, 5: 9.0}
    assert paired_difference(a, b).seeds == (7, 33, 1000)
    assert paired_difference(a, b).estimate == pytest.approx((0.2 + 0.1 + 0.3) / 3)


def test_correlation_says_what_pairing_buys() -> None:
    shared = RNG.normal(size=12)
    a, b = shared + 0.1 * RNG.normal(size=12), shared + 0.1 * RNG.normal(size=12)
    found = paired_difference(dict(enumerate(a)), dict(enumerate(b)))
    assert found.correlation is not None
    variance = a.var(ddof=1) + b.var(ddof=1) - 2 * found.correlation * a.std(ddof=1) * b.std(ddof=1)
    low, high = bounds(found)
    assert high - low == pytest.approx(2 * stats.t.ppf(0.975, 11) * (variance / 12) ** 0.5)


@pytest.mark.parametrize(
    ("a", "b"), [([0.1, 0.2], [0.3, 0.5]), ([0.1] * 3, [0.1, 0.2, 0.3]), ([0.1, 0.2, 0.3], [0.1] * 3)]
)
def test_correlation_is_none_where_undefined(a: list[float], b: list[float]) -> None:
    assert paired_difference(dict(enumerate(a)), dict(enumerate(b))).correlation is None


@given(ARMS, ARMS)
def test_paired_difference_is_antisymmetric(a: dict[int, float], b: dict[int, float]) -> None:
    if not set(a) & set(b):
        with pytest.raises(ConfigError, match="no common seeds"):
            paired_difference(a, b)
        return
    forth, back = paired_difference(a, b), paired_difference(b, a)
    assert forth.estimate == pytest.approx(-back.estimate)
    assert (forth.p, forth.correlation, forth.seeds) == (back.p, back.correlation, back.seeds)
    if forth.n >= SEEDS_FOR_INTERVAL:
        low, high = bounds(back)
        assert bounds(forth) == pytest.approx((-high, -low))


@given(st.lists(TENTHS, min_size=1, max_size=9))
@settings(deadline=None)
def test_sign_flips_agree_with_brute_force_on_ties(tenths: list[int]) -> None:
    sums = [
        abs(sum(s * d for s, d in zip(signs, tenths, strict=True)))
        for signs in itertools.product((-1, 1), repeat=len(tenths))
    ]
    expected = sum(found >= abs(sum(tenths)) for found in sums) / len(sums)
    differences = [d / 10 for d in tenths]
    assert sign_flip_test(differences) == expected
    assert sign_flip_test([-d for d in differences]) == expected
    assert sign_flip_test([7e-9 * d for d in reversed(differences)]) == expected


@pytest.mark.parametrize("n", [EXACT_SEEDS, EXACT_SEEDS + 1, 60])
def test_sign_flips_of_equal_sizes_are_a_sign_test(n: int) -> None:
    for k in (n // 2 + 2, n // 2 + 4, n):
        expected, found = float(stats.binomtest(k, n).pvalue), sign_flip_test([0.1] * k + [-0.1] * (n - k))
        if n <= EXACT_SEEDS:
            assert found == pytest.approx(expected, rel=1e-12)
        else:
            assert 0 < found == pytest.approx(expected, abs=5 * (expected / 2**17) ** 0.5 + 2**-16)


def test_mcnemar_agrees_with_statsmodels() -> None:
    for only_a, only_b in itertools.product(range(7), repeat=2):
        a = [True] * only_a + [False] * only_b + [True] * 4 + [False] * 3
        b = [False] * only_a + [True] * only_b + [True] * 4 + [False] * 3
        if only_a + only_b:
            theirs: Any = statsmodels_mcnemar([[4, only_a], [only_b, 3]], exact=True)
            assert mcnemar(a, b) == pytest.approx(theirs.pvalue)
        else:
            assert mcnemar(a, b) == 1


MISTAKES: dict[str, tuple[Callable[[], object], str]] = {
    "empty": (lambda: mean_interval([]), r"values must be one row of one or more numbers, got shape \(0,\)"),
    "table": (lambda: mean_interval([[1, 2], [3, 4]]), r"got shape \(2, 2\); give one for each seed"),
    "words": (lambda: success_rate(["high"]), r"values must be numbers, one for each seed, got \['high'\]"),
    "nan": (lambda: mean_interval([1, float("nan")]), "values must be finite, got nan at place 1; leave out"),
    "missing": (lambda: sign_flip_test([None, 1.0]), "differences must be finite, got nan at place 0"),  # type: ignore
    "infinite": (lambda: paired_difference({0: 1.0}, {0: float("inf")}), "b must be finite, got inf"),
    "percent": (lambda: mean_interval([1, 2, 3], 95), "level must lie between 0 and 1, got 95; write 0.95"),
    "level one": (lambda: interquartile_mean([[1, 2, 3]], 1.0), "level must lie between 0 and 1, got 1.0"),
    "level zero": (lambda: paired_difference({0: 1.0}, {0: 2.0}, 0.0), "level must lie between 0 and 1, got 0.0"),
    "seeds": (lambda: paired_difference({0: 1.0}, {1: 1.0}), r"a has \[0\] and b has \[1\]; run both on the same"),
    "pairs": (lambda: mcnemar([1, 0], [1, 0, 1]), "a has 2 values and b has 3; give both arms"),
    "success": (lambda: mcnemar([0.95], [1]), "a success must be true or false, got 0.95; compare with a threshold"),
    "threshold": (lambda: success_rate([1.0], float("nan")), "threshold must be a finite number, got nan"),
    "no task": (lambda: interquartile_mean([]), "scores must have at least one task, got none"),
    "flat": (lambda: interquartile_mean([0.5, 0.6]), r"each row of scores must be one row .* got shape \(\)"),
    "tasks": (lambda: paired_interquartile_difference([[1, 2]], [[1, 2]] * 2), "a has 1 tasks and b has 2"),
    "rows": (lambda: paired_interquartile_difference([[1, 2]], [[1, 2, 3]]), "a has 2 values and b has 3"),
    "improvement": (lambda: probability_of_improvement([1], [1, 2], paired=True), "a has 1 values and b has 2"),
    "resamples": (lambda: interquartile_mean([[1, 2, 3]], resamples=0), "resamples must be a whole number ≥ 1, got 0"),
    "experiments": (lambda: coverage(lambda _: mean_interval([1]), 0, 0), "experiments must be a whole number ≥ 1"),
    "delta": (lambda: equivalent(mean_interval([1, 2, 3]), 0), "delta must be a number > 0, got 0"),
    "label": (lambda: label(-1), "n must be a whole number ≥ 0, got -1"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake: str) -> None:
    call, message = MISTAKES[mistake]
    with pytest.raises(ConfigError, match=message):
        call()


@pytest.mark.slow
def test_no_torch_is_needed() -> None:
    subprocess.run(
        [sys.executable, "-c", "import sys, posenc.statistics; sys.exit('torch' in sys.modules)"],
        check=True,
        timeout=60,
    )
