"""The numbers of a report agree with plain Python over the json files, for all kinds of runs."""

import csv
import io
import json
import math
import random
from collections import defaultdict
from pathlib import Path
from statistics import fmean, stdev

import pytest
from scipy import stats

from posenc.report.numbers.compare import compare
from posenc.report.pages.layout import difference_table, summary_table
from tests.report.conftest import Make


@pytest.fixture
def sweep(run: Make, root: Path) -> Path:
    """Two datasets, two position schemes, three encodings, six seeds; some runs did not complete."""
    generator = random.Random(1)
    for dataset in ("pattern", "sorting"):
        for positions in ("contiguous", "randomized"):
            for place, encoding in enumerate(("none", "rope", "t5")):
                for seed in range(6):
                    where = {"dataset": dataset, "positions": positions, "name": positions}
                    if (encoding, seed) == ("t5", 5):
                        run(encoding, seed, status="diverged", error="loss is nan", **where)
                        continue
                    skill = 0.4 * place + generator.gauss(0, 0.05)
                    more = {} if encoding != "t5" else {"undefined": {"128": "t5 holds 64 positions"}}
                    speed = round(5000 * (1 + place) * generator.uniform(0.9, 1.1))
                    scores = {32: skill, 64: skill / 2} | ({128: skill / 4} if encoding != "t5" else {})
                    run(encoding, seed, scores, tokens_per_second=speed, **where, **more)
    return root


def results(root: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(root.rglob("result.json"))]


def test_the_table_equals_the_json(sweep: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(compare([sweep], None, 0.01).long.to_csv(index=False))))
    found = results(sweep)
    lengths = sum(len({*result["test"], *result["undefined"]}) or 1 for result in found)
    assert len(rows) == lengths
    scored = [row for row in rows if row["accuracy"]]
    assert len(scored) == sum(len(result["test"]) for result in found)
    for key in ("accuracy", "skill", "bits", "loss"):
        ours = math.fsum(float(row[key]) for row in scored)
        theirs = math.fsum(scores[key] for result in found for scores in result["test"].values())
        assert ours == pytest.approx(theirs, rel=1e-12)
    assert {row["undefined"] for row in rows} == {"", "t5 holds 64 positions"}
    assert sum(row["status"] == "diverged" for row in rows) == 4
    assert {row["order_blind"] for row in scored} == {"0.5"}


def test_means_intervals_success_and_cost(sweep: Path) -> None:
    comparison = compare([sweep], None, 0.01)
    oracle: dict[tuple[str, str, str], dict[int, dict]] = defaultdict(dict)
    for result in results(sweep):
        oracle[result["dataset"], result["positions"], result["encoding"]][result["seed"]] = result
    assert len(comparison.rows) == len(oracle) == 12
    for row in comparison.rows:
        runs = oracle[row.facet.dataset, row.facet.positions, row.arm]
        done = {seed: one for seed, one in runs.items() if one["status"] == "completed"}
        # a diverged run counts as skill 0
        values = [one["test"]["32"]["skill"] if seed in done else 0.0 for seed, one in runs.items()]
        assert row.score is not None
        assert row.success is not None
        assert row.score.estimate == pytest.approx(fmean(values))
        half = stats.t.ppf(0.975, len(values) - 1) * stdev(values) / math.sqrt(len(values))
        assert row.score.high == pytest.approx(min(1, fmean(values) + half))
        assert row.success.n == len(runs)  # a diverged run is one that did not solve it
        assert row.success.estimate == pytest.approx(sum(value >= 0.9 for value in values) / len(runs))
        base = oracle[row.facet.dataset, row.facet.positions, "none"]
        logs = [math.log(one["tokens_per_second"] / base[seed]["tokens_per_second"]) for seed, one in done.items()]
        assert row.speed == pytest.approx(math.exp(fmean(logs)))
        assert row.same_sweep
        assert row.lost == ({"diverged": 1} if row.arm == "t5" else {})


def test_differences_are_paired_by_seed(sweep: Path) -> None:
    comparison = compare([sweep], None, 0.01)
    skills = {
        (one["dataset"], one["positions"], one["encoding"], one["seed"]): one["test"].get("32", {"skill": 0.0})["skill"]
        for one in results(sweep)
    }
    assert len(comparison.contrasts) == 8
    for one in comparison.contrasts:
        where = (one.facet.dataset, one.facet.positions)
        gaps = [skills[*where, one.arm, seed] - skills[*where, "none", seed] for seed in one.difference.seeds]
        assert one.difference.estimate == pytest.approx(fmean(gaps))
        assert one.improvement == pytest.approx(fmean(gap > 0 for gap in gaps))
        assert one.corrected is not None
        assert one.corrected >= min(1, 2 * one.difference.p)  # differences have half of the risk


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_fewer_than_three_seeds_have_no_p(run: Make, root: Path, seeds: int) -> None:
    """The page and the summary show an empty cell, because 1.000 would look like the result of a test."""
    for seed in range(seeds):
        run("none", seed, 0.1)
        run("rope", seed, 0.9)
    comparison = compare([root], None, 0.01)
    assert [one.corrected is None for one in comparison.contrasts] == [seeds < 3]
    table = difference_table(comparison)
    assert table is not None
    for column in ("p", "p (corrected)"):
        text, value = table.rows[0][table.columns.index(column)]
        assert ((text, value) == ("", None)) == (seeds < 3), column


def test_speed_across_sweeps_is_marked(run: Make, root: Path) -> None:
    run("none", 0, 0.1, sweep="a", tokens_per_second=1000)
    run("rope", 0, 0.9, sweep="b", tokens_per_second=500)
    row = next(row for row in compare([root], None, 0.01).rows if row.arm == "rope")
    assert (row.speed, row.same_sweep) == (pytest.approx(0.5), False)


def test_the_measure_is_the_longest_trained_length(run: Make, root: Path) -> None:
    run("rope", 0, {16: 0.9, 32: 0.8, 64: 0.2}, trained_lengths=[8, 40])
    run("rope", 0, {48: 0.9, 64: 0.2}, dataset="sorting", trained_lengths=[8, 40])
    assert [facet.length for facet in compare([root], None, 0.01).facets] == [32, 48]


def test_aulc_and_k50_come_from_the_runs(run: Make, root: Path) -> None:
    for seed in range(3):
        for arm, gain in (("none", 0.0), ("rope", 0.5)):
            found = {"aulc": 0.1 * seed + gain, "k50": 2.0 + seed, "tested_to": 8.0}
            run(arm, seed, 0.5, length_generalization=found)
    comparison = compare([root], None, 0.01)
    row = next(row for row in comparison.rows if row.arm == "rope")
    assert row.aulc is not None
    assert (row.aulc.estimate, row.k50) == (pytest.approx(0.6), 3.0)
    aulc = next(one for one in comparison.contrasts if one.metric == "aulc")
    assert aulc.difference.estimate == pytest.approx(0.5)


@pytest.mark.parametrize("order", [(3, 2, 1, 0), (1, 3, 0, 2)])
def test_where_the_folders_lie_changes_nothing(run: Make, root: Path, order: tuple[int, ...]) -> None:
    generator = random.Random(2)
    values = {(arm, seed): generator.gauss(0, 1) for arm in ("none", "rope") for seed in range(4)}
    said = []
    for name, places in (("a", range(4)), ("b", order)):
        for place, seed in enumerate(places):
            for arm in ("none", "rope"):
                run(arm, seed, values[arm, seed], sweep=f"{name}/{place}")
        comparison = compare([root / name], None, 0.01)
        said.append((comparison.first, [(row.arm, row.score, row.speed) for row in comparison.rows]))
    assert said[0] == said[1]


def test_a_column_with_one_value_is_a_sentence_instead(run: Make, root: Path) -> None:
    for encoding in ("none", "rope"):
        run(encoding, 0, 0.5)
    table = summary_table(compare([root], None, 0.01))
    assert "dataset" not in table.columns
    assert table.about.endswith("In all rows: dataset pattern, measure skill at length 32.")
    assert [row[table.arm or 0][0] for row in table.rows] == ["none", "rope"]
    run("rope", 0, 0.5, dataset="sorting")
    assert "dataset" in summary_table(compare([root], None, 0.01)).columns
