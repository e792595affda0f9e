"""The first sentences of a report end with the runs that would decide the comparison, and with their cost."""

import html
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from posenc.report.numbers import judge
from posenc.report.numbers.compare import Comparison, compare
from posenc.report.numbers.judge import MOST_SEEDS, Judgement, Pair, seeds_needed
from posenc.report.words import duration
from posenc.report.write import SUMMARY, write
from posenc.runs.sweep_journal import Journal
from posenc.terminal import TRAIN
from tests.report.conftest import Make


def begin(root: Path, *words: str, sweep: str = "sweep", typed: Sequence[str] = (), **more: Any) -> None:
    """Write the record of a sweep's command, as Hydra does. `typed` are the user's overrides of Hydra's own options."""
    (root / sweep).mkdir(exist_ok=True)
    own = ["hydra.sweep.dir='runs/sweep'", *typed, "hydra.mode=MULTIRUN"]
    record = {"hydra": {"overrides": {"task": [*words], "hydra": own}, **more}}
    (root / sweep / "multirun.yaml").write_text(yaml.safe_dump(record))


def fill(run: Make, seeds: range, spread: float = 0.01, far: float = 0.5, **arms: float) -> None:
    for seed in seeds:
        generator = random.Random(seed)
        for arm, mean in arms.items():
            skill = mean + generator.gauss(0, spread)
            run(arm, seed, {32: skill, 64: skill * far})


def saved(comparison: Comparison, root: Path) -> Path:
    """The table of a report."""
    (root / "table.csv").write_text(comparison.long.to_csv(index=False))
    return root / "table.csv"


def said(comparison: Comparison) -> str:
    return str(comparison.first.advice or "")


def test_three_seeds_ask_for_ten_and_ten_decide(run: Make, root: Path) -> None:
    begin(root, "encoding=none,rope", "seed=0,1,2", "trainer.max_steps=1000")
    fill(run, range(3), none=0.1, rope=0.9)
    comparison = compare([root], None, 0.01)
    command = f"{TRAIN} -m encoding=none,rope trainer.max_steps=1000 seed='range(10)'"
    assert said(comparison) == (
        "Run seeds 0 to 9 now, because 10 seeds would probably decide how rope compares with none at length 32 and at "
        f"length 64: `{command}` "  # 2 encodings × 7 seeds × 11 s
        "(finished runs are skipped; the others take about 154 seconds, one run after another)."
    )
    assert str(comparison.first).endswith(said(comparison))
    fill(run, range(3, 10), none=0.1, rope=0.9)
    assert compare([root], None, 0.01).first.kind == "winner"
    assert said(compare([root], None, 0.01)) == ""


def test_the_command_finds_the_folder_and_the_configs_of_its_sweep(run: Make, root: Path) -> None:
    sources = [{"path": "posenc/configs", "provider": "main"}, {"path": "/my own", "provider": "command-line"}]
    words = "encoding=none,rope", "seed=0,1,2", "force=true"
    begin(root, *words, typed=["hydra.sweep.dir=mine"], runtime={"config_sources": sources})
    fill(run, range(3), none=0.1, rope=0.9)
    command = f"{TRAIN} -m '--config-dir=/my own' encoding=none,rope hydra.sweep.dir=mine seed='range(10)'"
    assert f": `{command}`" in said(compare([root], None, 0.01))


def test_the_last_command_in_a_folder_may_make_fewer_arms(run: Make, root: Path) -> None:
    begin(root, "encoding=t5", "seed=0,1,2")
    fill(run, range(3), none=0.1, rope=0.9, t5=0.5)
    assert f": `{TRAIN} -m encoding=none,rope,t5 seed='range(10)'`" in said(compare([root], None, 0.01))
    for seed in range(3):  # of a command without dataset=, which makes pattern
        for arm in ("none", "rope", "t5"):
            run(arm, seed, 0.3 if arm == "none" else 0.4, dataset="sorting")
    advised = said(compare([root], None, 0.01))
    assert "how rope compares with t5 across 2 datasets" in advised
    assert f": `{TRAIN} -m dataset=pattern,sorting encoding=rope,t5 seed='range(10)'`" in advised


def test_commands_of_one_folder_that_differ_in_another_key_have_no_common_command(run: Make, root: Path) -> None:
    fill(run, range(3), none=0.1, rope=0.9)
    for number, (words, asked) in enumerate(
        [
            (("encoding=none", "seed=0,1,2"), ": `"),
            (("encoding=rope", "seed=0,1,2"), f": `{TRAIN} -m encoding=none,rope seed="),
            (("encoding=rope", "optimizer.lr=1e-3"), ": give `seed="),
        ]
    ):
        journal = Journal(root / "sweep" / ".sweeps" / str(number))
        journal.plan(1, words)
        journal.note(0, "completed", folder=str(number), skipped=False)
        journal.close()
        begin(root, *words)
        assert asked in said(compare([root], None, 0.01))


def test_a_search_is_not_asked_for_seeds_which_would_be_trials(run: Make, root: Path) -> None:
    for sweeper, asked in (("BasicSweeper", True), ("OptunaSweeper", False)):
        begin(root, "experiment=mine", sweeper={"_target_": f"hydra_plugins.{sweeper}"})
        if asked:
            fill(run, range(3), none=0.1, rope=0.9)
        comparison = compare([root], None, 0.01)
        assert bool(said(comparison)) == asked
        (root / "sweep" / "multirun.yaml").unlink()  # a table is read where its folders are not
        for _ in range(2):
            comparison = compare([saved(comparison, root)], None, 0.01)
            assert bool(said(comparison)) == asked


@pytest.mark.parametrize("recorded", [True, False])
def test_the_runs_of_a_claim_are_not_asked_for_seeds(run: Make, root: Path, recorded: bool) -> None:
    runtime = {"choices": {"claim": "mine"}} if recorded else {}
    begin(root, "experiment=of_the_claim" if recorded else "claim=mine", runtime=runtime)
    fill(run, range(3), none=0.1, rope=0.9)
    for comparison in (one := compare([root], None, 0.01), compare([saved(one, root)], None, 0.01)):
        assert said(comparison) == (
            "Runs here test claim=mine. Therefore this report asks for no seeds; "
            "docs/own_claim.md says when seeds may be added."
        )


def test_encodings_beside_those_of_a_claim_are_asked_for_its_seeds(run: Make, root: Path) -> None:
    begin(root, "claim=mine")
    fill(run, range(10), rope=0.9)
    for seed in range(5):
        run("none", seed, {32: 0.1 + 0.001 * seed}, sweep="beside")
    assert said(compare([root], None, 0.01)).startswith("Run seeds 0 to 9 now, because 10 seeds would probably decide")


@pytest.mark.usefixtures("undrawn")
def test_the_page_and_the_summary_have_the_same_words(run: Make, root: Path) -> None:
    begin(root, "encoding=none,rope", "seed=0,1,2", "name='a b'")
    fill(run, range(3), none=0.1, rope=0.9)
    page, finding = write([root])
    assert finding.advice is not None
    assert (
        f"{finding.advice.before} `{finding.advice.command}` (finished runs are skipped;"
        in (root / SUMMARY).read_text()
    )
    shown = f"{finding.advice.before} <code>{finding.advice.command}</code>{finding.advice.after}</p>"
    assert shown in html.unescape(page.read_text())


def test_only_undecided_encodings_and_datasets_are_asked_for(run: Make, root: Path) -> None:
    begin(root, "experiment=mine")
    for seed in range(12):
        generator = random.Random(seed)
        for arm, mean, spread in (("none", 0.1, 0.01), ("rope", 0.8, 0.06), ("t5", 0.75, 0.06)):
            run(arm, seed, {32: mean + generator.gauss(0, spread)}, wall_seconds=100.0)
            if arm != "t5":
                run(arm, seed, {32: mean}, dataset="sorting")
    first = compare([root], None, 0.01).first
    assert first.advice is not None
    assert first.advice.command.startswith(f"{TRAIN} -m dataset=pattern encoding=rope,t5 experiment=mine seed='range(")
    seeds = int(first.advice.command.partition("range(")[2].partition(")")[0])
    assert seeds > 12
    assert duration((seeds - 12) * 200) in first.advice.after
    assert "how rope compares with t5 at length 32 on pattern" in first.advice.before


def test_a_command_never_lists_forty_encodings(run: Make, root: Path) -> None:
    begin(root, "experiment=quick_demo")
    for k in range(40):
        run(f"e{k}", 0, {32: 0.01 * k})
    run("far", 0, {32: 0.1}, dataset="sorting")
    first = compare([root], None, 0.01).first
    assert first.advice is not None
    assert first.advice.command == f"{TRAIN} -m dataset=pattern experiment=quick_demo seed='range(10)'"
    assert duration(40 * 9 * 11) in first.advice.after


def test_the_seeds_to_run_now_come_before_those_that_would_decide_more(run: Make, root: Path) -> None:
    begin(root, "encoding=none,rope,t5", "seed=0,1,2")
    for seed, gap in enumerate((0.09, 0.0, 0.04)):
        for arm, skill in (("none", 0.1), ("rope", 0.9 + gap), ("t5", 0.9)):
            run(arm, seed, {32: skill})
    text = said(compare([root], None, 0.01))
    found = re.fullmatch(
        r"Run seeds 0 to 9 now, because 10 seeds would probably decide how rope compares with none at length 32: `.*`"
        r" \(.*\)\. About (\d+) seeds would decide how rope compares with t5 at length 32\. That number is rough, "
        r"because it comes from 3 seeds; the report of 10 seeds has a better one\.",
        text,
    )
    assert found is not None, text
    assert int(found[1]) > 10


def test_one_seed_that_is_missing_is_named(run: Make, root: Path) -> None:
    begin(root, "encoding=none,rope")
    fill(run, range(1, 10), none=0.1, rope=0.9)
    run("rope", 0, {32: 0.9, 64: 0.45})
    text = said(compare([root], None, 0.01))
    assert text.startswith(f"Run seed 0 now, because a verdict needs 10 seeds: `{TRAIN} -m encoding=none,rope seed=")


def test_what_no_number_of_seeds_decides_is_said(run: Make, root: Path) -> None:
    for seed in range(12):
        for arm, sign in (("rope", 1), ("t5", -1)):
            run(arm, seed, {32: 0.5 + (sign * 0.2 if seed % 2 else -sign * 0.2)})
    assert said(compare([root], None, 0.01)) == (
        f"Even {MOST_SEEDS} further seeds would probably not decide how rope compares with t5 at length 32."
    )


def test_the_longest_length_is_asked_for_too(run: Make, root: Path) -> None:
    for seed in range(12):
        for arm, far in (("rope", 0.5), ("t5", 0.45)):
            run(arm, seed, {32: 0.9 if arm == "rope" else 0.5, 64: far + random.Random(f"{arm}{seed}").gauss(0, 0.045)})
    comparison = compare([root], None, 0.01)
    assert comparison.first.kind == "winner"
    asked = (
        r"Run seeds 0 to (\d+) now, because (\d+) seeds would probably decide how rope compares with t5 at length 64: "
    )
    found = re.match(asked + r"give `seed='range\((\d+)\)'` in the command of these runs", said(comparison))
    assert found is not None
    assert int(found[1]) + 1 == int(found[2]) == int(found[3]) > 12
    for seed in range(12, 24):  # an order that no arm is good at is not worth a run
        for arm in ("none", "fire"):
            run(arm, seed, {32: 0.9 if arm == "none" else 0.5, 64: random.Random(f"{arm}{seed}").gauss(0, 0.02)})
    runs = [root / "sweep" / "pattern" / arm for arm in ("none", "fire")]
    assert said(compare(runs, None, 0.01)) == ""


def test_seeds_go_on_from_those_that_are_there(run: Make, root: Path) -> None:
    begin(root, "encoding=none,rope", "seed=100,101")
    fill(run, range(100, 102), none=0.1, rope=0.9)
    assert said(compare([root], None, 0.01)).startswith("Run seeds 100 to 109 now, because a verdict needs 10 ")
    assert "seed='range(100,110)'" in said(compare([root], None, 0.01))


def test_a_failed_run_costs_again_and_a_diverged_run_does_not(run: Make, root: Path) -> None:
    begin(root, "encoding=none,rope")
    fill(run, range(4), none=0.1, rope=0.9)
    run("rope", 4, status="diverged", error="nan")
    run("none", 4, status="failed", error="boom")
    assert "the others take about 121 seconds" in said(compare([root], None, 0.01))  # 6 × none, 5 × rope


def test_runs_of_two_sweeps_have_no_common_command(run: Make, root: Path) -> None:
    for sweep, arm, mean in (("one", "rope", 0.9), ("two", "none", 0.1)):
        begin(root, f"encoding={arm}", sweep=sweep)
        for seed in range(3):
            run(arm, seed, mean + 0.001 * seed, sweep=sweep, seconds=None, wall_seconds=None)
    text = said(compare([root], None, 0.01))
    assert text.endswith("give `seed='range(10)'` in the command of these runs (finished runs are skipped).")


@pytest.mark.parametrize(("seconds", "words"), [(1, "1 second"), (179, "179 seconds"), (720, "12 minutes")])
def test_a_duration_is_rounded(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.slow
@pytest.mark.parametrize(("gap", "spread"), [(0.05, 0.05), (0.1, 0.08), (0.0, 0.016)])
def test_about_so_many_seeds_decide(gap: float, spread: float) -> None:
    """If ten seeds leave a simulated comparison undecided, the number of seeds in the advice mostly decides it."""
    rng = np.random.default_rng(0)
    decided = []
    for _ in range(200):
        values = rng.normal(gap, spread, 10 + MOST_SEEDS)
        pair = one(values[:10])
        if pair.kind == "undecided" and pair.needed is not None:
            decided.append(one(values[: pair.needed]).kind != "undecided")
    assert len(decided) > 20
    assert np.mean(decided) > 0.5


def one(gaps: np.ndarray) -> Pair:
    test = judge.Test(dict(enumerate(gaps.tolist())), dict.fromkeys(range(len(gaps)), 0.0))
    return Judgement({"pair": test}, 0.01)["pair"]


def test_the_rule_counts_the_seeds_that_sign_flips_need() -> None:
    assert seeds_needed([0.5, 0.5, 0.5], 0.0, certain=True) == 7
    assert seeds_needed([0.5], 0.0, certain=True) == 10
    assert seeds_needed([0.1, -0.1, 0.1, -0.1], 0.0, certain=True) is None
