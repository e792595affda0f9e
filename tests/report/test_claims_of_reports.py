"""No sentence of a report claims more than the numbers show, and none leaves out an arm or a run without saying so."""

import itertools
import re
from statistics import fmean

import numpy as np
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from posenc.report.numbers import facets
from posenc.report.numbers.finding import Finding
from posenc.report.reading.arms import place as placed
from posenc.report.reading.read import Run
from tests.report.ledgers import a_run, concluded


def sweep(seeds: int = 12, **arms: dict[int, float]) -> list[Run]:
    """Every arm with its skill at every length; seeds differ a little."""
    return [
        a_run(arm, seed, {n: skill + 0.0001 * ((seed * 7) % 5) for n, skill in skills.items()})
        for arm, skills in arms.items()
        for seed in range(seeds)
    ]


def first(runs: list[Run]) -> Finding:
    return concluded(runs).first


def test_a_lost_run_counts_and_is_said() -> None:
    runs = sweep(rope={32: 0.95}, t5={32: 0.9})
    runs = [
        a_run("rope", run.seed, {}, status="diverged")
        if (run.encoding, run.seed) in {("rope", 3), ("rope", 8)}
        else run
        for run in runs
    ]
    finding = first(runs)
    assert finding.kind == "undecided"
    assert "rope 2 diverged" in finding.text
    assert "beats" not in finding.text
    assert finding.text.startswith("On d0, t5 has the highest")  # .79 with the lost ones
    assert "rope 10/12" in finding.text


def test_arms_that_are_not_compared_are_named_with_the_reason() -> None:
    runs = sweep(rope={32: 0.9}, t5={32: 0.5}, none={32: 0.1})
    runs += [a_run("fire", 20 + seed, {32: 0.95}) for seed in range(12)]
    runs += [a_run("cope", seed, {}, status="diverged") for seed in range(12)]
    runs += [a_run("alibi", seed, {32: 0.99}, steps=5000) for seed in range(12)]
    runs += [a_run("kerple", seed, {32: 0.2}, dataset="d1") for seed in range(12)]
    finding = next(one for one in concluded(runs).findings if one.phrase == "d0")
    assert finding.kind == "winner"
    assert "every other" not in finding.text
    assert "each of the 2 others that are compared" in finding.text
    assert "fire (no seed in common with rope)" in finding.text
    assert "cope (12 diverged, no run completed)" in finding.text
    assert "alibi (another budget: 5,000 steps, rope has 1,000 steps)" in finding.text
    assert "kerple (no run here, but one on d1)" in finding.text
    everything = concluded(runs).first.text
    assert all(name in everything for name in ("fire", "cope", "alibi", "kerple"))


def test_two_budgets_alone_are_not_compared() -> None:
    runs = sweep(t5={32: 0.1}) + [a_run("rope", seed, {32: 0.9}, steps=5000) for seed in range(12)]
    finding = first(runs)
    assert finding.kind == "alone"
    assert "another budget: 1,000 steps, rope has 5,000 steps" in finding.text
    assert concluded(runs, baseline="t5").contrasts == []


def test_inside_delta_is_a_tie_and_the_lengths_go_on() -> None:
    finding = first(sweep(rope={32: 0.99, 128: 0.1}, gauss={32: 0.989, 128: 0.9}, none={32: 0.1, 128: 0.0}))
    assert finding.kind == "tie"
    assert "rope and gauss tie at length 32" in finding.text
    assert re.search(r"At length 128 gauss keeps 0\.90\d and rope 0\.10\d \(p < 0\.001 corrected\)", finding.text)
    same = [a_run(arm, seed, {32: 1.0, 256: far}) for arm, far in (("a", 0.05), ("b", 0.88)) for seed in range(5)]
    finding = first(same)
    assert finding.kind == "tie"
    assert "a and b tie at length 32" in finding.text
    assert "highest" not in finding.text
    assert "At length 256 b keeps 0.880 and a 0.050" in finding.text


def test_a_winner_that_falls_behind_is_told_so() -> None:
    finding = first(sweep(rope={32: 0.99, 128: 0.1}, fire={32: 0.9, 128: 0.8}))
    assert finding.kind == "winner"
    assert "At length 128 the order is another: fire keeps 0.800 and rope 0.100" in finding.text


def test_the_label_is_that_of_the_fewest_seeds() -> None:
    runs = sweep(rope={32: 0.9}, t5={32: 0.9}) + [a_run("alibi", seed, {32: 0.9}) for seed in range(3)]
    finding = first(runs)
    assert "alibi" in finding.text
    assert finding.label == "not for verdicts (3 seeds)"
    assert "alibi lacks seeds" in finding.text


def test_the_best_mean_leads_across_datasets_and_failures_stand_beside_it() -> None:
    runs = []
    for place in range(8):
        high = 1.0 if place < 6 else 0.0
        for seed in range(12):
            wobble = 0.0001 * ((seed * 7 + place) % 5)
            runs += [
                a_run("peaks", seed, {32: high - wobble}, f"d{place}"),
                a_run("even", seed, {32: 0.95 - wobble}, f"d{place}"),
            ]
            if place:
                runs.append(a_run("gap", seed, {32: 0.99}, f"d{place}"))
    found = concluded(runs)
    assert [row.arm for row in found.across] == ["even", "peaks"]
    assert found.across[1].skill.estimate > 0.99 > found.across[0].skill.estimate  # interquartile means hide it
    assert len(found.across[1].unsolved) == 2
    assert "Across 8 datasets even has the highest mean skill, 0.950" in found.first.text
    assert "does not solve 2 of 8" in found.first.text
    assert "gap (no result on d0)" in found.first.text


def test_intervals_end_where_scores_do() -> None:
    runs = [a_run("rope", seed, {32: skill, 64: skill}) for seed, skill in enumerate((1.0, 1.0, 0.2))]
    (facet,) = facets.facets(placed(runs)[0])
    for metric, low in (("skill", -1.0), ("accuracy", 0.0)):
        found = facet.interval("rope", metric)
        assert found is not None
        assert found.low is not None
        assert found.high == 1.0
        assert found.low >= low
    bits = facet.interval("rope", "bits")
    assert bits is not None
    assert bits.low == 0.0


ARM = st.sampled_from("abcde")
LEDGER = st.lists(
    st.tuples(
        ARM,
        st.integers(0, 11),
        st.sampled_from(["completed"] * 6 + ["diverged", "failed", "interrupted", "unfinished"]),
        st.sampled_from([0.05, 0.5, 0.9, 0.905, 0.98, 1.0]),
        st.sampled_from([1000] * 5 + [3000]),
    ),
    min_size=1,
    max_size=60,
    unique_by=lambda run: run[:2],
)


@given(LEDGER)
@settings(max_examples=150, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
def test_every_arm_and_every_lost_run_is_in_the_words(ledger: list[tuple]) -> None:
    steps = {arm: budget for arm, _, _, _, budget in ledger}
    runs = [a_run(arm, seed, {32: skill}, status=status, steps=steps[arm]) for arm, seed, status, skill, _ in ledger]
    found = concluded(runs)
    values: dict[str, dict[int, float]] = {}
    for arm in steps:
        mine = {seed: (status, skill) for name, seed, status, skill, _ in ledger if name == arm}
        if any(status == "completed" for status, _ in mine.values()):
            kept = {seed: one for seed, one in mine.items() if one[0] in ("completed", "diverged", "failed")}
            values[arm] = {seed: skill if status == "completed" else 0.0 for seed, (status, skill) in kept.items()}
    if not values:
        assert found.first.kind == "nothing"
        return
    lost_arms, apart_arms = set(), set()
    for finding in found.findings:  # arms of another budget may have a finding of their own
        beside = " ".join(
            part for part in re.split(r"(?<=\.) ", finding.text) if part.startswith(("Runs that", "Not "))
        )
        apart = re.findall(r"([a-e](?:, [a-e])*(?: and [a-e])?) \(", beside.partition("Not compared: ")[2])
        here = {name for part in apart for name in re.findall("[a-e]", part)}
        apart_arms |= here
        lost_arms |= set(re.findall(r"\b([a-e]) \d+ (?:diverged|failed)", beside))
        compared = sorted(set(values) - here)
        assert len({steps[arm] for arm in compared}) <= 1, finding.text
        if finding.kind == "winner":
            check_winner(finding.text, {arm: values[arm] for arm in compared})
        assert "equal" not in finding.text  # twelve seeds never carry it
        assert "beats every other" not in finding.text or not here
        common = [len(values[a].keys() & values[b].keys()) for a, b in itertools.combinations(compared, 2)]
        assert not common or finding.seeds >= min(common)
    for arm in steps:
        lost = any(name == arm and status in ("diverged", "failed") for name, _, status, _, _ in ledger)
        assert not lost or arm in lost_arms | apart_arms, arm
        assert arm in values or arm in apart_arms, arm


def check_winner(text: str, values: dict[str, dict[int, float]]) -> None:
    """The named winner beats each other arm in the exact sign-flip test, computed here by a loop over all signs."""
    best = max(values, key=lambda arm: (fmean(values[arm].values()), arm))
    assert (
        re.search(rf"\b{best} has the highest", text)
        or sum(fmean(one.values()) == fmean(values[best].values()) for one in values.values()) > 1
    )
    named = text.partition(" has the highest")[0][-1]
    for other in values.keys() - {named}:
        gaps = [values[named][seed] - values[other][seed] for seed in values[named].keys() & values[other].keys()]
        total = sum(gaps)
        assert total / len(gaps) > 0.01
        sums = np.array(list(itertools.product((1, -1), repeat=len(gaps)))) @ gaps
        assert 2 * np.mean(np.abs(sums) >= total - 1e-9) < 0.05
