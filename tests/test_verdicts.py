"""One verdict for all experiments: every outcome on simulated data, and the rule case by case."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from posenc.checks import ConfigError
from posenc.statistics import Interval, success_difference
from posenc.statistics.claims import (
    CONTRADICTED,
    DIRECTION_ONLY,
    INCONCLUSIVE,
    INVALID,
    NOT_REPRODUCED,
    OUTCOMES,
    REPRODUCED,
    Claim,
    Verdict,
    judge,
    verdicts,
)
from posenc.statistics.measurements import Measurements
from posenc.studies.method.conduct import finding

SIDES: dict[str, Any] = {"quantity": "skill", "of": {"arm": "a", "at": 1}, "against": {"arm": "b", "at": 1}}


def claim(direction: str = "above", **others: Any) -> Claim:
    return Claim("a beats b", **(SIDES | {"direction": direction, "smallest_effect": 0.1} | others))


def simulated(effect: float, spread: float, seeds: int = 12, draw: int = 0) -> Measurements:
    """Arm a is better than b by `effect` on the average, with paired noise of `spread` and a common one of 1."""
    rng, found = np.random.default_rng(draw), Measurements()
    for seed in range(seeds):
        common = rng.normal()
        found.add("skill", "b", 1, seed, common)
        found.add("skill", "a", 1, seed, common + effect + spread * rng.normal())
    return found


@pytest.mark.parametrize(
    ("effect", "spread", "seeds", "outcome"),
    [
        (0.3, 0.05, 12, REPRODUCED),
        (0.05, 0.01, 12, DIRECTION_ONLY),
        (0.0, 0.02, 12, NOT_REPRODUCED),
        (-0.3, 0.05, 12, CONTRADICTED),
        (0.0, 1.0, 12, INCONCLUSIVE),
        (0.3, 0.05, 2, INCONCLUSIVE),
    ],
)
def test_every_outcome_on_simulated_seeds(effect: float, spread: float, seeds: int, outcome: str) -> None:
    found = [claim().verdict(simulated(effect, spread, seeds, draw)).outcome for draw in range(40)]
    assert found.count(outcome) >= 36, found


def test_an_effect_of_zero_is_seldom_taken_for_one() -> None:
    found = [claim().verdict(simulated(0.0, 0.2, draw=draw)).outcome for draw in range(400)]
    false = sum(outcome in (REPRODUCED, DIRECTION_ONLY) for outcome in found)
    assert false <= 22  # 2.5 % of 400, and four standard errors


@pytest.mark.parametrize("seeds", [10, 12, 30])
@pytest.mark.parametrize("direction", ["equal", "above"])
def test_successes_are_seldom_called_equal_where_the_truth_is_twice_the_smallest_effect(
    seeds: int, direction: str
) -> None:
    """An arm that always succeeds against one that fails on one seed in ten; δ = .05."""
    rng, false = np.random.default_rng(0), 0
    for _ in range(200):
        found = Measurements()
        for seed in range(seeds):
            found.add("skill", "a", 1, seed, 1.0)
            found.add("skill", "b", 1, seed, float(rng.random() < 0.9))
        false += claim(direction, smallest_effect=0.05).verdict(found).outcome in (
            (REPRODUCED,) if direction == "equal" else (NOT_REPRODUCED, CONTRADICTED)
        )
    assert false <= 10


def test_the_interval_of_a_difference_of_rates() -> None:
    """Newcombe's own example, 56/70 − 48/80: .0524 to .3339; and that it has a width where all succeed."""
    a, b = np.arange(70) < 56, np.arange(80) < 48
    found = success_difference(a, b)
    assert (found.low, found.high) == (pytest.approx(0.0524, abs=1e-4), pytest.approx(0.3339, abs=1e-4))
    same = success_difference([1] * 12, [1] * 12)
    assert (same.low, same.high) == (pytest.approx(-0.2425, abs=1e-4), pytest.approx(0.2425, abs=1e-4))
    known = success_difference([1] * 12, 0.9)
    assert known.low == pytest.approx(1 - 0.2425 - 0.9, abs=1e-4)


def test_a_gate_that_does_not_hold_makes_it_invalid() -> None:
    found = simulated(0.3, 0.05)
    for seed in range(12):
        found.add("accuracy", "a", 1, seed, 0.8)
    closed = claim(gate={"quantity": "accuracy", "arm": "a", "at": 1, "at_least": 0.9}).verdict(found)
    assert closed.outcome == INVALID
    assert closed.gate == "accuracy of a at 1 ≥ 0.9"
    within = {"quantity": "accuracy", "arm": "a", "at": 1, "at_least": 0.7, "at_most": 0.85}
    assert claim(gate=within).verdict(found).outcome == REPRODUCED


@pytest.mark.parametrize(
    ("low", "estimate", "high", "above", "below", "equal"),
    [
        (0.05, 0.2, 0.3, REPRODUCED, CONTRADICTED, INCONCLUSIVE),
        (0.01, 0.05, 0.09, DIRECTION_ONLY, NOT_REPRODUCED, REPRODUCED),
        (-0.05, 0.0, 0.05, NOT_REPRODUCED, NOT_REPRODUCED, REPRODUCED),
        (-0.05, 0.1, 0.3, INCONCLUSIVE, INCONCLUSIVE, INCONCLUSIVE),
        (-0.3, -0.2, -0.15, CONTRADICTED, REPRODUCED, CONTRADICTED),
        (0.2, 0.2, 0.2, REPRODUCED, CONTRADICTED, CONTRADICTED),
    ],
)
def test_the_rule(low: float, estimate: float, high: float, above: str, below: str, equal: str) -> None:
    interval = Interval(estimate, low, high, 12)
    assert [judge(interval, direction, 0.1) for direction in ("above", "below", "equal")] == [above, below, equal]
    assert judge(Interval(estimate, None, None, 2), "above", 0.1) == INCONCLUSIVE


def test_below_mirrors_above() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        low, estimate, high = sorted(rng.normal(0, 0.15, 3))
        mirrored = Interval(-estimate, -high, -low, 12)
        assert judge(Interval(estimate, low, high, 12), "above", 0.1) == judge(mirrored, "below", 0.1)


def test_claims_are_judged_together() -> None:
    found = simulated(0.3, 0.05)
    (alone,), three = verdicts([claim()], found), verdicts([claim()] * 3, found)
    assert alone.level == pytest.approx(0.95)
    assert three[0].level == pytest.approx(1 - 0.05 / 3)
    assert alone.low is not None
    assert three[0].low is not None
    assert three[0].low < alone.low
    assert alone.outcome in OUTCOMES


def test_few_seeds_are_labelled_and_exact_counts_need_none() -> None:
    assert claim().verdict(simulated(0.3, 0.01, 5)).note == "not for verdicts (5 seeds)"
    found = Measurements()
    found.add("skill", "a", 1, 0, 1.84)
    counted = claim(against=1.8, exact=True, smallest_effect=0.01).verdict(found)
    assert (counted.outcome, counted.note) == (REPRODUCED, "counted, not sampled")
    assert counted.low == counted.high == pytest.approx(0.04)
    found.add("skill", "a", 1, 1, 1.9)
    with pytest.raises(ConfigError, match="skill is not exact, it has 2 values"):
        claim(against=1.8, exact=True).verdict(found)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: claim("more"), "direction=more is not one of above, below, equal"),
        (lambda: claim(smallest_effect=0), "smallest_effect must be a number > 0, got 0"),
        (lambda: claim(of={"arm": "a"}), "of=.*is not complete; it needs arm, at"),
    ],
)
def test_mistakes_are_named(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build()


@pytest.mark.parametrize(
    ("asked", "note"),
    [
        ({"of": {"arm": "c", "at": 1}}, "arm=c was not measured; there is b, a."),
        ({"of": {"arm": "a", "at": 9}}, "at=9 was not measured; there is 1."),
        ({"quantity": "loss"}, "quantity=loss was not measured; there is skill."),
        ({"gate": {"quantity": "skill", "arm": "d", "at": 1}}, "arm=d was not measured; there is b, a."),
    ],
)
def test_a_claim_about_what_was_not_measured_is_invalid(asked: dict[str, Any], note: str) -> None:
    """The other claims are still judged: a study that was changed on the command line keeps what it found."""
    verdict = claim(**asked).verdict(simulated(0, 1))
    assert (verdict.outcome, verdict.note) == (INVALID, note)
    assert verdict.estimate is verdict.low is verdict.high is None


def test_a_claim_without_any_score_says_so() -> None:
    assert claim().verdict(Measurements()).note == "quantity=skill was not measured; no arm has a score."


def test_the_table_is_long_and_in_order() -> None:
    found = simulated(0.1, 0, seeds=2)
    lines = found.csv().splitlines()
    assert lines[0] == "quantity,arm,at,seed,value"
    assert [line.rsplit(",", 1)[0] for line in lines[1:]] == [
        "skill,b,1,0",
        "skill,b,1,1",
        "skill,a,1,0",
        "skill,a,1,1",
    ]
    assert Measurements.read(found.csv()).csv() == found.csv()
    with pytest.raises(ConfigError, match="a study's table starts with quantity,arm,at,seed,value, not with 'a,b'"):
        Measurements.read("a,b\n1,2\n")


def test_a_figure_of_a_study_states_the_outcome_first_with_what_was_measured() -> None:
    def verdict(outcome: str, low: float | None = 0.3, high: float | None = 0.48) -> Verdict:
        return Verdict("a stack collapses.", outcome, 0.39, low, high, 12, 0.95, 0.1, "", None, "")

    judged = [verdict(CONTRADICTED), verdict(REPRODUCED), verdict(REPRODUCED)]
    assert finding(judged[:1]) == "CONTRADICTED: a stack collapses (difference 0.39 [0.3, 0.48]; 12 seeds)"
    assert finding(judged).endswith(". All 3 claims: 1 CONTRADICTED, 2 REPRODUCED")
    assert finding([]) == ""
    assert finding([verdict(CONTRADICTED, 0.39, 0.39)]).endswith("(difference exactly 0.39; 12 seeds)")
    assert finding([verdict(CONTRADICTED, None, None)]).endswith("(difference 0.39; 12 seeds)")
    for seeds, said in ((1, "1 seed"), (1200, "1,200 seeds")):
        assert finding([replace(verdict(CONTRADICTED), seeds=seeds)]).endswith(f"; {said})")


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_where_all_runs_fail_alike_the_seeds_that_decide_are_named_and_do(value: float) -> None:
    one = claim("equal", against=value)

    def alike(seeds: int) -> Verdict:
        found = Measurements()
        found.extend(("skill", "a", 1, seed, value) for seed in range(seeds))
        return one.verdict(found)

    early = alike(10)
    assert early.outcome == INCONCLUSIVE
    assert early.note == "every run is a success or every run a failure; 35 such seeds would decide"
    assert [alike(seeds).outcome for seeds in (34, 35)] == [INCONCLUSIVE, REPRODUCED]
    above = claim("above", against=0.0).verdict(simulated(0.0, 1.0))
    assert (above.outcome, above.note) == (INCONCLUSIVE, "")


def test_a_gate_that_does_not_hold_says_what_it_is() -> None:
    gate = {"quantity": "skill", "arm": "a", "at": 1, "at_least": 2}
    found = claim(gate=gate).verdict(simulated(0.3, 0.05))
    there = simulated(0.3, 0.05).mean("skill", "a", 1)
    assert (found.outcome, found.note) == (INVALID, f"skill of a at 1 is {there:.3g}, and the gate needs ≥ 2")
    at_lengths = claim(gate=gate, places="length").verdict(simulated(0.3, 0.05))
    assert at_lengths.note.startswith("skill of a at length 1 is ")
    assert at_lengths.gate == "skill of a at length 1 ≥ 2"
    assert at_lengths.contrast.startswith("skill: a at length 1 ")
