"""Means over tasks, their bootstrap intervals, and how often intervals hold the truth."""

import itertools
import re
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from posenc.__main__ import main
from posenc.checks import ConfigError
from posenc.statistics import (
    Interval,
    coverage,
    interquartile_mean,
    mean_interval,
    paired_interquartile_difference,
    probability_of_improvement,
    success_rate,
)
from tests.test_statistics import RNG, bounds


@pytest.mark.parametrize("sizes", [(3, 3), (12,), (5, 9, 4), (10, 10, 10, 11)])
def test_interquartile_mean_is_the_trimmed_mean_of_all_runs(sizes: tuple[int, ...]) -> None:
    scores = [RNG.random(size) for size in sizes]
    found = interquartile_mean(scores, resamples=10)
    assert found.estimate == pytest.approx(stats.trim_mean(np.concatenate(scores), 0.25))
    assert found.n == min(sizes)


def test_bootstrap_agrees_with_scipy_on_one_task() -> None:
    values = RNG.random(12)
    theirs = stats.bootstrap(
        (values,), lambda x, axis: stats.trim_mean(x, 0.25, axis), n_resamples=20000, method="percentile", rng=1
    ).confidence_interval
    ours = interquartile_mean(values[None], resamples=20000)
    assert bounds(ours) == pytest.approx((theirs.low, theirs.high), abs=0.01)
    assert interquartile_mean(values[None]) == interquartile_mean(values[None])
    assert interquartile_mean(values[None], seed=1) != interquartile_mean(values[None])


def test_bootstrap_draws_within_tasks() -> None:
    """Tasks differ and seeds do not: drawn across tasks the mean would vary, within them it cannot."""
    assert bounds(interquartile_mean([[0.1] * 4, [0.5] * 4, [0.9] * 4])) == pytest.approx((0.5, 0.5))


def test_both_arms_share_their_resampled_seeds() -> None:
    a = RNG.random((3, 8))
    found = paired_interquartile_difference(a, a - 0.25)
    assert (found.estimate, *bounds(found)) == pytest.approx((0.25, 0.25, 0.25))
    b = RNG.random((3, 8))
    forth, back = paired_interquartile_difference(a, b), paired_interquartile_difference(b, a)
    assert bounds(forth) == pytest.approx(tuple(-bound for bound in reversed(bounds(back))))
    assert forth.estimate == pytest.approx(interquartile_mean(a).estimate - interquartile_mean(b).estimate)


def test_interquartile_mean_moves_with_its_scores() -> None:
    scores = RNG.random((4, 7))
    before, after = interquartile_mean(scores), interquartile_mean(3 * scores - 1)
    assert (after.estimate, *bounds(after)) == pytest.approx([3 * x - 1 for x in (before.estimate, *bounds(before))])
    narrow, wide = bounds(interquartile_mean(scores, 0.5)), bounds(interquartile_mean(scores, 0.99))
    assert wide[0] < narrow[0] < before.estimate < narrow[1] < wide[1]


def test_probability_of_improvement() -> None:
    a, b = RNG.integers(0, 6, 9), RNG.integers(0, 6, 7)
    unpaired = probability_of_improvement(a, b, paired=False)
    assert unpaired.estimate == pytest.approx(stats.mannwhitneyu(a, b).statistic / 63)
    other = probability_of_improvement(b, a, paired=False)
    assert unpaired.estimate + other.estimate == pytest.approx(1)
    assert bounds(unpaired)[0] < unpaired.estimate < bounds(unpaired)[1]
    assert unpaired.n == other.n == 7
    paired = probability_of_improvement([1, 2, 3, 4], [0, 2, 4, 3], paired=True)
    assert paired.estimate == (1 + 0.5 + 0 + 1) / 4
    assert bounds(probability_of_improvement([1, 2, 3], [0, 1, 2], paired=True)) == (1, 1)
    assert probability_of_improvement([1, 2, 3], [0, 1, 2], paired=False).estimate == pytest.approx(7 / 9)


@pytest.mark.parametrize("paired", [True, False])
def test_bootstrap_of_improvement_agrees_with_scipy(paired: bool) -> None:
    a, b = RNG.normal(0.3, 1, 12), RNG.normal(0, 1, 12)

    def statistic(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.mean(a > b if paired else a[:, None] > b))

    theirs = stats.bootstrap(
        (a, b), statistic, paired=paired, vectorized=False, n_resamples=4000, method="percentile", rng=1
    ).confidence_interval
    ours = bounds(probability_of_improvement(a, b, paired))
    assert ours == pytest.approx((theirs.low, theirs.high), abs=1 / 12 + 1e-9 if paired else 0.02)


@pytest.mark.slow
def test_the_command_shows_that_intervals_hold_what_they_promise(capsys: pytest.CaptureFixture[str]) -> None:
    main(["coverage"])
    out = capsys.readouterr().out
    lines = re.findall(r"(normal|beta|bimodal) +(\d+) +([\d.]+) +([\d.]+)", out)
    found = {(law, int(n)): (float(mean), float(difference)) for law, n, mean, difference in lines}
    assert [*found] == [(law, n) for law in ("normal", "beta", "bimodal") for n in (3, 5, 12)]
    for law, n in itertools.product(("normal", "beta"), (5, 12)):
        assert all(93 <= share <= 97 for share in found[law, n]), (law, n)
    assert found["bimodal", 3][0] < 80  # as the docstring says
    rare = re.findall(r"rare +(\d+) +([\d.]+) +[\d.]+ +([\d.]+)", out)
    assert [int(n) for n, _, _ in rare] == [5, 8, 12]
    assert [float(mean) for _, mean, _ in rare] == pytest.approx([100 * (1 - 0.9**n) for n in (5, 8, 12)], abs=3)
    assert all(float(success) > 88 for _, _, success in rare)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "one_task", "nine_tasks", "improvement"),
    [(3, 0.75, 0.86, 0.63), (5, 0.90, 0.91, 0.81), (12, 0.93, 0.93, 0.88)],
)
def test_bootstrap_is_as_narrow_as_its_docstring_says(
    n: int, one_task: float, nine_tasks: float, improvement: float
) -> None:
    def middle(tasks: int) -> Callable[[np.random.Generator], Interval]:
        means = np.linspace(0.2, 0.8, tasks)[:, None] if tasks > 1 else 0.5
        return lambda rng: interquartile_mean(rng.normal(means, 0.1, size=(tasks, n)), resamples=400)

    def against_zero(rng: np.random.Generator) -> Interval:
        a = rng.normal(stats.norm.ppf(0.7), 1, n)
        return probability_of_improvement(a, np.zeros(n), paired=True, resamples=400)

    assert coverage(middle(1), 0.5, 1000) == pytest.approx(one_task, abs=0.04)
    assert coverage(middle(9), 0.5, 1000) == pytest.approx(nine_tasks, abs=0.04)
    assert coverage(against_zero, 0.7, 1000) == pytest.approx(improvement, abs=0.04)


def test_coverage_counts_and_finds_what_is_wrong() -> None:
    def z_interval(rng: np.random.Generator) -> Interval:
        values = rng.normal(size=5)
        half = 1.96 * values.std(ddof=1) / 5**0.5
        return Interval(values.mean(), values.mean() - half, values.mean() + half, 5)

    expected = stats.t.cdf(1.96, 4) - stats.t.cdf(-1.96, 4)
    assert coverage(z_interval, 0.0) == pytest.approx(expected, abs=0.02)
    assert expected < 0.89
    assert coverage(lambda rng: success_rate(rng.random(12) < 0.6), 0.6) == pytest.approx(0.95, abs=0.03)
    with pytest.raises(ConfigError, match="2 seeds give no interval"):
        coverage(lambda rng: mean_interval(rng.normal(size=2)), 0.0)
