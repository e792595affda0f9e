"""In at most 5 % of simulated sweeps with a known truth, a report says something false.

A sweep has two arms, seven data sets and twelve seeds. To be fast, most simulations start with runs that are already
grouped (`Meeting`). One test checks that a report made from runs says the same.
"""

import numpy as np
import pytest

from posenc.report.numbers.finding import of_meeting
from posenc.report.numbers.judge import Judgement
from posenc.report.numbers.meetings import Meeting
from tests.report.ledgers import a_run, concluded

SWEEPS, DATASETS, SEEDS = 200, 7, 12


def normal(rng: np.random.Generator, shape: tuple[int, ...], rate: float = 1.0) -> np.ndarray:
    """Skills of trainings that always succeed."""
    return rng.normal(0.7, 0.1, shape)


def solved(rng: np.random.Generator, shape: tuple[int, ...], rate: float) -> np.ndarray:
    """Skills of runs that either solve their task or fail."""
    return np.where(rng.random(shape) < rate, rng.normal(0.99, 0.003, shape), rng.normal(0.1, 0.03, shape))


def said(a: np.ndarray, b: np.ndarray) -> tuple[list[str], str]:
    """(kinds, text) of the findings of one sweep; a and b have the skills by data set and seed."""
    meetings = [
        Meeting(f"d{place}", "skill", 32, {32: {arm: dict(enumerate(row.tolist())) for arm, row in arms.items()}})
        for place, arms in enumerate({"rope": ours, "t5": theirs} for ours, theirs in zip(a, b, strict=True))
    ]
    judged = Judgement({key: test for one in meetings for key, test in one.tests().items()}, 0.01)
    found = [of_meeting(one, judged) for one in meetings]
    return [one.kind for one in found], " ".join(map(str, found))


def said_of_runs(a: np.ndarray, b: np.ndarray) -> tuple[list[str], str]:
    """The same for a report made from runs, with its first sentence."""
    runs = [
        a_run(arm, seed, {32: float(values[place, seed])}, f"d{place}")
        for arm, values in (("rope", a), ("t5", b))
        for place in range(len(values))
        for seed in range(values.shape[1])
    ]
    found = concluded(runs)
    return [one.kind for one in found.findings], " ".join([str(found.first), *map(str, found.findings)])


def test_the_whole_way_from_runs_says_no_more() -> None:
    """A report made from runs also tests the means across data sets, so it corrects more and finds no more."""
    rng = np.random.default_rng(0)
    for law, rate, gain in ((normal, 1.0, 0.0), (normal, 1.0, 0.15), (solved, 0.9, 0.0), (solved, 0.6, 0.1)) * 2:
        a, b = law(rng, (DATASETS, SEEDS), rate) + gain, law(rng, (DATASETS, SEEDS), rate)
        short, (whole, _) = said(a, b)[0], said_of_runs(a, b)
        assert len(short) == len(whole)
        assert all(
            one == other or (one, other) == ("winner", "undecided") for one, other in zip(short, whole, strict=True)
        )


@pytest.mark.slow
@pytest.mark.parametrize(("law", "rate"), [(normal, 1.0), (solved, 0.6), (solved, 0.9)])
def test_of_two_equal_arms_a_report_seldom_names_a_winner(law, rate: float) -> None:
    rng = np.random.default_rng(0)
    false = 0
    for _ in range(SWEEPS):
        a, b = law(rng, (DATASETS, SEEDS), rate), law(rng, (DATASETS, SEEDS), rate)
        kinds, words = said(a, b)
        assert ("winner" in kinds) == ("beats" in words)
        false += "winner" in kinds
    assert false <= 0.05 * SWEEPS


def test_arms_that_fail_on_one_seed_in_ten_are_seldom_called_equal_to_one_that_never_does() -> None:
    rng = np.random.default_rng(0)
    shape, false, ties = (DATASETS, SEEDS), 0, 0
    for _ in range(SWEEPS):
        kinds, words = said(solved(rng, shape, 1.0), solved(rng, shape, 0.9))
        assert ("equal" in kinds) == ("equal" in words)
        false += "equal" in kinds
        ties += "tie" in kinds
    assert false <= 0.05 * SWEEPS
    assert ties > SWEEPS / 2  # what looks alike is still said, as what it is


def test_an_effect_that_is_there_is_found_in_spite_of_the_correction() -> None:
    """With an effect of two standard deviations on seven data sets, most winners are found."""
    rng = np.random.default_rng(0)
    winners = sum(said(normal(rng, (7, 12)) + 0.2, normal(rng, (7, 12)))[0].count("winner") for _ in range(30))
    assert winners > 0.5 * 30 * DATASETS


def test_with_enough_seeds_what_is_equal_is_called_so() -> None:
    rng = np.random.default_rng(0)
    kinds, words = said(*(rng.normal(0.99, 0.003, (1, 60)) for _ in range(2)))
    assert kinds == ["equal"]
    assert "equal within ±0.01" in words
