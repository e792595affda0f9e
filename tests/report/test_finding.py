"""The report has a right sentence for every outcome of the runs."""

import random
import re
from pathlib import Path

import pytest

from posenc.report.numbers.compare import Comparison, compare
from posenc.report.numbers.facets import clipped
from posenc.report.pages.plots import plots
from posenc.statistics import mean_interval
from posenc.terminal import count
from tests.report.conftest import Make


def read(root: Path, baseline: str | None = None, delta: float = 0.01) -> Comparison:
    return compare([root], baseline, delta)


def fill(run: Make, seeds: int, spread: float = 0.01, **arms: float) -> None:
    """Runs of each arm: its mean, plus noise that all arms of a seed have in common, plus noise of its own."""
    generator = random.Random(0)
    for seed in range(seeds):
        common = generator.gauss(0, spread)
        for arm, mean in arms.items():
            run(arm, seed, mean + common + generator.gauss(0, spread))


def test_a_clear_winner(run: Make, root: Path) -> None:
    fill(run, 12, none=0.1, rope=0.9, t5=0.5)
    first = read(root).first
    assert first.kind == "winner"
    assert first.text.startswith("On pattern, rope has the highest skill at length 32, 0.9")
    assert "(12 seeds): it beats every other encoding, the next, t5 by 0.4" in first.text
    assert "and none by 0.79" in first.text
    assert "p < 0.001 corrected" in first.text
    assert first.label == ""


@pytest.mark.slow
def test_twelve_seeds_inside_delta_are_a_tie_and_equality_takes_more(run: Make, root: Path) -> None:
    """If twelve seeds agree, an arm may still fail on one seed in five, so the report does not call the arms equal."""
    fill(run, 12, 0.001, none=0.1, rope=0.9, t5=0.9)
    first = read(root).first
    assert first.kind == "tie"
    assert "rope and t5 tie at length 32" in first.text or "t5 and rope tie at length 32" in first.text
    assert "their mean skill differs by less than 0.01, but 12 seeds cannot exclude a larger difference" in first.text
    assert "on up to 22% of all seeds" in first.text
    assert re.search(r"; (rope|t5) beats none by 0\.8", first.text)
    assert "equal" not in first.text
    assert read(root, delta=1e-5).first.kind == "undecided"
    fill_more = range(12, 90)
    generator = random.Random(1)
    for seed in fill_more:
        for arm, mean in (("none", 0.1), ("rope", 0.9), ("t5", 0.9)):
            run(arm, seed, mean + generator.gauss(0, 0.001))
    first = read(root).first
    assert first.kind == "equal"
    assert "are equal within ±0.01 at length 32" in first.text


def test_what_the_seeds_do_not_tell_apart_is_undecided_not_equal(run: Make, root: Path) -> None:
    fill(run, 12, 0.1, none=0.1, rope=0.80, t5=0.81)
    first = read(root).first
    assert first.kind == "undecided"
    assert "undecided whether it is better than" in first.text
    assert "equal" not in first.text


def test_five_seeds_cannot_confirm_what_they_show(run: Make, root: Path) -> None:
    fill(run, 5, none=0.1, rope=0.9)
    first = read(root).first
    assert first.kind == "undecided"
    assert "the intervals leave 0 out, but 5 seeds cannot confirm it" in first.text
    assert first.label == "not for verdicts (5 seeds)"


@pytest.mark.parametrize(("seeds", "why"), [(1, "there is one seed"), (2, "there are only 2 seeds")])
def test_with_one_seed_nothing_can_be_said(run: Make, root: Path, seeds: int, why: str) -> None:
    fill(run, seeds, none=0.1, rope=0.9)
    comparison = read(root)
    assert comparison.first.kind == "nothing"
    assert f"nothing can be said yet, because {why}" in comparison.first.text
    assert "no interval" in comparison.first.label
    said = f" Not for verdicts ({count(seeds, 'seed')}, no interval). Run seeds 0 to 9 now, because a verdict needs 10 "
    assert said in str(comparison.first)
    assert {row.label.partition(" (")[0] for row in comparison.rows} == {"not for verdicts"}


def test_when_all_failed_the_states_are_counted(run: Make, root: Path) -> None:
    for seed in range(2):
        run("none", seed, status="failed", error="boom")
    run("rope", 0, status="diverged", error="nan")
    comparison = read(root)
    assert "nothing can be said yet, because none of its 3 runs completed" in comparison.first.text
    assert "1 diverged and 2 failed" in comparison.first.text
    assert len(comparison.lost) == 4  # and one is missing


def test_only_unfinished_runs_say_nothing(run: Make, root: Path) -> None:
    (run("rope", 0, 0.9) / "result.json").unlink()
    assert read(root).first.text == "Nothing can be said yet, because no run has finished."


def test_less_is_better_where_nobody_knows_ceilings(run: Make, root: Path) -> None:
    generator = random.Random(0)
    for seed in range(12):
        for arm, bits in (("none", 3.0), ("rope", 2.0), ("alibi", 2.5)):
            run(arm, seed, dataset="text", bits=bits + generator.gauss(0, 0.01))
    comparison = read(root)
    (facet,) = comparison.facets
    assert (facet.metric, facet.lower, facet.arms) == ("bits", True, ["rope", "alibi", "none"])
    first = comparison.first
    assert first.kind == "winner"
    assert "rope has the lowest bits at length 32, 2.0" in first.text
    assert "the next, alibi by 0.49" in first.text
    assert "and none by 1.0" in first.text
    assert all(one.improvement == 1 and one.pair.gain > 0 > one.difference.estimate for one in comparison.contrasts)


def test_one_encoding_alone(run: Make, root: Path) -> None:
    fill(run, 3, rope=0.9)
    comparison = read(root)
    assert comparison.first.kind == "alone"
    assert "rope is the only encoding with a result" in comparison.first.text


def test_an_absent_default_baseline_is_replaced_and_said(run: Make, root: Path) -> None:
    """A baseline that the user asks for must have a run; see test_write.py."""
    fill(run, 3, rope=0.9, t5=0.5)
    comparison = read(root)
    assert comparison.baseline == "rope"
    assert "The baseline none has no completed run here" in comparison.notes[0].text
    assert {(one.arm, one.baseline) for one in comparison.contrasts} == {("t5", "rope")}


def test_encodings_without_a_common_seed_or_dataset_are_not_compared(run: Make, root: Path) -> None:
    for seed in range(3):
        run("none", seed, 0.1)
        run("rope", 10 + seed, 0.9)
        run("t5", seed, 0.9, dataset="sorting")
    comparison = read(root)
    said = "\n".join(note.folder + note.text for note in comparison.notes)
    assert "none (no seed in common with rope)" in comparison.findings[0].text
    assert "t5 (no run here, but one on sorting)" in comparison.findings[0].text
    assert "no seed in common with none" in said
    assert "sorting" in said
    assert comparison.contrasts == []


def test_across_datasets_by_interquartile_mean(run: Make, root: Path) -> None:
    generator = random.Random(0)
    for dataset in ("pattern", "sorting"):
        for seed in range(10):
            for arm, mean in (("none", 0.1), ("rope", 0.9), ("t5", 0.5)):
                run(arm, seed, mean + generator.gauss(0, 0.01), dataset=dataset)
    comparison = read(root)
    assert [row.arm for row in comparison.across] == ["rope", "t5", "none"]
    assert comparison.first.text.startswith("Across 2 datasets rope has the highest mean skill, 0.9")
    assert "on common seeds it leads by 0.4" in comparison.first.text
    assert "of 2 comparisons, 2 with a winner." in comparison.first.text
    assert [row.improvement for row in comparison.across] == [1.0, 1.0, None]


def test_the_title_of_a_figure_is_computed_from_what_it_draws(run: Make, root: Path) -> None:
    skills = {"rope": (0.8, 0.9, 1.0), "t5": (0.1, 0.2, 0.3)}
    for arm, values in skills.items():
        for seed, value in enumerate(values):
            run(arm, seed, {32: 0.99, 64: value})
    comparison = compare([root], None, 0.01)
    titles = {plot.name: plot.finding for plot in plots(comparison)}
    interval = clipped(mean_interval(list(skills["rope"])), (None, 1.0))
    assert interval.low is not None
    ends = f"{interval.estimate:.2f} [{interval.low:.2f}, 1.00]"
    start = f"At length 64, 2× the trained, rope keeps {ends} (0.99 at 32); the next, t5, 0.20"
    assert titles["skill_by_length"].startswith(start)
    assert titles["skill_by_length"].endswith(": 3 seeds")
    assert "3 seeds" in titles["seeds"]


def test_a_seed_whose_score_is_not_a_number_is_said_to_lack(run: Make, root: Path) -> None:
    for seed in range(3):
        run("rope", seed, float("nan") if seed == 1 else 0.7)
        run("none", seed, 0.3)
    text = compare([root], None, 0.01).first.text
    assert "rope lacks seed 1 (no score at this length)" in text
