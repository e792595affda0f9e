"""Published claims: each can hold and can be refuted, judged by the runs of its arms, and names real settings."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from posenc.checks import ConfigError
from posenc.published import registry
from posenc.published.claim import PublishedClaim, outcomes
from posenc.published.write import draw, judge, told
from posenc.report import write
from posenc.report.reading.ledger import add
from posenc.statistics.claims import (
    CONTRADICTED,
    INCONCLUSIVE,
    INVALID,
    REPRODUCED,
    Claim,
    Side,
)
from posenc.statistics.measurements import Measurements
from tests.conftest import CONFIGS, Launch
from tests.report.conftest import Make

FILES = sorted((CONFIGS / "claim").glob("*.yaml"))
CLAIM: dict[str, Any] = {
    "statement": "RoPE holds", "quantity": "skill", "of": {"arm": "rope", "at": 64},
    "against": {"arm": "none", "at": 64}, "direction": "above", "smallest_effect": 0.1,
}  # fmt: skip
WORDS: dict[str, Any] = {
    "says": "It holds.", "source": "https://example.org", "setting": "large", "differs": "small", "minutes": 1,
    "numbers": {"rope": 0.9}, "unit": "accuracy", "arms": {"rope": {"encoding": "rope"}, "none": {"encoding": "none"}},
}  # fmt: skip


def made(**changed: Any) -> PublishedClaim:
    return PublishedClaim(**WORDS, judged=Claim(**CLAIM | changed))


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_is_a_sweep_that_trains_its_arms(composed: Callable[..., DictConfig], file: Path) -> None:
    claim, config = registry.claim_of(file), composed(f"claim={file.stem}", "profile=smoke")
    read = {side.at for side in (claim.judged.of, claim.judged.against, claim.judged.gate) if hasattr(side, "at")}  # pyright: ignore
    assert read <= {*config.dataset.test_lengths}
    for one in claim.reasons:
        composed(f"claim={file.stem}", *(word for word in one["setting"].split() if word != "dataset.path=FOLDER"))
    sides = {side.arm for side in (claim.judged.of, claim.judged.against) if isinstance(side, Side)}
    assert sides <= {*claim.arms}
    assert file.read_text().splitlines()[1].startswith("# ")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_verdict_is_possible(file: Path) -> None:
    judged = registry.claim_of(file).judged
    assert {REPRODUCED, CONTRADICTED} <= outcomes(judged)
    assert (INVALID in outcomes(judged)) == (judged.gate is not None)
    assert INCONCLUSIVE in outcomes(judged, seeds=1)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"smallest_effect": 1.5}, "cannot hold"),
        ({"gate": {"quantity": "skill", "arm": "rope", "at": 32, "at_least": 2.0}}, "cannot hold"),
        ({"direction": "below", "against": -0.5}, "cannot hold"),
        ({"direction": "equal", "smallest_effect": 3.0}, "cannot be refuted"),
    ],
)
def test_a_claim_that_cannot_fail_is_refused(changed: dict[str, Any], why: str) -> None:
    made()
    with pytest.raises(ConfigError, match=why):
        made(**changed)


def test_a_comparison_with_a_number_shows_the_number() -> None:
    found = Measurements()
    found.extend(("skill", arm, 64, seed, 0.2 + 0.01 * seed) for arm in ("rope", "none") for seed in range(10))
    level, arms = made(against=0.75), made()
    assert re.match(r"difference −0.505 \[.*\] from the level 0.75, 10 seeds", told(level, level.verdict(found)))
    assert told(arms, arms.verdict(found)).startswith("difference 0.000 [")


def test_it_is_judged_by_the_runs_of_its_arms(run: Make, root: Path, tmp_path: Path) -> None:
    for seed in range(10):
        run("rope", seed, {32: 1.0, 64: 0.8 + 0.01 * seed})
        run("none", seed, {32: 1.0, 64: 0.2 - 0.01 * seed})
        run("t5", seed, 0.5)  # of no arm
    verdict, notes = judge(made(), "mine", [root], tmp_path, "python train.py claim=mine")
    assert (verdict.outcome, verdict.seeds, notes) == (REPRODUCED, 10, [])
    assert verdict.estimate == pytest.approx(0.69)
    assert "t5" not in (tmp_path / "claim.csv").read_text()
    assert json.loads((tmp_path / "verdict.json").read_text())["outcome"] == REPRODUCED
    assert "| rope | 0.9 accuracy | 0.845 skill at length 64 |" in (tmp_path / "claim.md").read_text()
    assert (tmp_path / "claim.png").stat().st_size > 1e4


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_it_is_judged_by_runs_of_a_folder_and_of_a_table(run: Make, root: Path, tmp_path: Path) -> None:
    for seed in range(10):
        run("none", seed, {32: 1.0, 64: 0.2})
    page, _ = write([root], tmp_path / "former")
    table = page.with_name("comparison_summary.csv").rename(tmp_path / "former.csv")
    for folder in filter(Path.is_dir, tmp_path.iterdir()):
        shutil.rmtree(folder)
    for seed in range(10):
        run("rope", seed, {32: 1.0, 64: 0.8 + 0.01 * seed})
    verdict, _ = judge(made(), "mine", [root, table], tmp_path, "python train.py claim=mine")
    assert (verdict.outcome, verdict.seeds) == (REPRODUCED, 10)
    assert verdict.estimate == pytest.approx(0.645)


@pytest.mark.parametrize(
    ("made_by", "told"),
    [((None, None), "–"), (("abc", "abc"), "abc"), (("abc", "abd+"), "abc abd+"), (("abc", None), "abc unknown")],
)
def test_a_verdict_names_the_commit_of_every_run(
    run: Make, root: Path, tmp_path: Path, made_by: tuple[str | None, ...], told: str
) -> None:
    for seed, commit in enumerate(made_by):
        run("rope", seed, {32: 1.0, 64: 0.8}, versions={"torch": "2", **({} if commit is None else {"commit": commit})})
    judge(made(), "mine", [root], tmp_path, "python train.py claim=mine")
    assert json.loads((tmp_path / "verdict.json").read_text())["commit"] == told


def test_its_figure_names_each_line_at_its_end(run: Make, root: Path, tmp_path: Path) -> None:
    for encoding in ("rope", "none"):
        run(encoding, 0, {20: 1.0, 40: 0.8}, dataset="copy_repeats")
    claim = registry.claim_of(CONFIGS / "claim" / "repeats_need_position.yaml")
    judge(claim, "mine", [root], tmp_path, "python train.py claim=mine")
    found = Measurements.read((tmp_path / "claim.csv").read_text())
    (axis,) = draw(claim, claim.verdict(found), found).axes
    assert axis.get_legend() is None
    assert {text.get_text() for text in axis.texts} == {"rope", "none"}


def test_runs_of_no_arm_leave_a_page_that_says_so(run: Make, root: Path, tmp_path: Path) -> None:
    run("t5", 0, {32: 1.0, 64: 0.8})
    verdict, _ = judge(made(), "mine", [root], tmp_path, "python train.py claim=mine encoding=t5")
    assert (verdict.outcome, verdict.seeds) == (INVALID, 0)
    assert verdict.note in (tmp_path / "claim.md").read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_run_of_a_folder_that_a_table_has_too_is_one_run(run: Make, root: Path, tmp_path: Path) -> None:
    for seed in range(10):
        run("rope", seed, {32: 1.0, 64: 0.8})
        run("none", seed, {32: 1.0, 64: 0.2})
    page, _ = write([root], tmp_path / "former")
    table = page.with_name("comparison_summary.csv").rename(tmp_path / "former.csv")
    shutil.rmtree(tmp_path / "former")
    shutil.rmtree(root / "sweep" / "pattern" / "none" / "seed3")
    run("none", 3, status="failed", error="out of memory")  # in the place of what the table has
    verdict, notes = judge(made(), "mine", [root, table], tmp_path, "python train.py claim=mine")
    assert (verdict.seeds, notes) == (10, [])
    assert verdict.estimate == pytest.approx(0.6)


def test_runs_that_are_lost_count_and_lacking_ones_are_named(run: Make, root: Path) -> None:
    for seed in range(10):
        run("rope", seed, 1.0) if seed else run("rope", 0, status="diverged", error="nan")
        if seed == 5:
            run("none", seed, status="interrupted", error="stopped")
        elif seed != 4:
            run("none", seed, 0.5)
    found, notes = made().measured(read_runs(root))
    assert found.sample("skill", "rope", 64)[0] == 0
    assert notes == ["rope seed 0 diverged and counts as a failure", "none lacks 2 seeds: 4, 5"]
    assert made().verdict(found).seeds == 8


def read_runs(root: Path) -> Any:
    from posenc.report.reading.read import read

    return read([root])[0]


def test_a_run_of_two_arms_is_refused(run: Make, root: Path) -> None:
    run("rope", 0, 1.0)
    words: dict[str, Any] = WORDS | {"arms": {"rope": {"encoding": "rope"}, "none": {"seed": 0}}}
    both = PublishedClaim(**words, judged=Claim(**CLAIM))
    with pytest.raises(ConfigError, match="fits the arms rope and none"):
        both.measured(read_runs(root))


def test_a_ledger_that_is_not_there_is_one_error_before_any_run(command: Launch, tmp_path: Path) -> None:
    words = "claim=parity_does_not_generalise", "profile=smoke", "ledger=mine.csv", f"hydra.sweep.dir={tmp_path / 's'}"
    status, errors = command(*words)
    assert status == 2
    assert errors.count("the ledger") == 1
    assert "mine.csv cannot be read (No such file or directory)" in errors
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("claim.arms.rope.encoding=ropee", "claim: arm rope: encoding=ropee does not exist; the options are abacus, "),
        ("claim.judged.of.at=81", "claim: arm rope is judged at length 81, which is not tested; "),
        ("model.dim=x", "dim must be a whole number ≥ 1, got 'x'"),
        ("model.dim=${nowhere}", "Interpolation key 'nowhere' not found"),
        ("seed=x,y", "seed must be a whole number ≥ 0, got 'x'"),
    ],
)
def test_a_claim_that_no_run_could_decide_is_refused_before_any_run(
    command: Launch, tmp_path: Path, word: str, said: str
) -> None:
    folder = tmp_path / "s"
    words = "claim=parity_does_not_generalise", "profile=smoke", "trainer.max_steps=1", f"hydra.sweep.dir={folder}"
    status, errors = command(*words, word)
    assert status == 2
    assert said in errors
    assert not folder.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("claim=parity_does_not_generalise", "encoding=t5"),
            "rope (encoding=rope) and sinusoidal (encoding=sinusoidal)",
        ),
        (
            ("claim=parity_does_not_generalise", "-m", "encoding=rope,t5"),
            "a run with encoding=t5 belongs to none of them",
        ),
        (
            ("claim=randomised_positions_help", "positions=contiguous,shifted"),
            "encoding=rope positions=shifted belongs",
        ),
        (
            ("claim=short_first_costs_nothing", "data.curriculum_steps=7"),
            "long (data.curriculum_steps=0) and short_first",
        ),
    ],
)
def test_a_run_of_no_arm_is_refused_before_any_run(
    command: Launch, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    folder = tmp_path / "s"
    status, errors = command(*words, "profile=smoke", "trainer.max_steps=1", f"hydra.sweep.dir={folder}")
    assert status == 2
    assert errors.count("error: ") == 1
    assert said in errors
    assert not folder.exists()


@pytest.mark.slow
def test_a_command_trains_and_judges(command: Launch, tmp_path: Path) -> None:
    words = "claim=parity_does_not_generalise", "profile=smoke", "encoding=rope", "model.dim=16", "model.num_layers=1"
    status, errors = command(*words, f"hydra.sweep.dir={tmp_path / 'sweep'}")
    assert (status, errors) == (0, "")
    verdict = json.loads((tmp_path / "sweep" / "verdict.json").read_text())
    assert verdict["seeds"] == 3
    assert (tmp_path / "sweep" / "claim.md").exists()
    kept = tmp_path / "runs.csv"
    add(kept, [tmp_path / "sweep"])
    status, errors = command(*words, f"ledger={kept}", f"hydra.sweep.dir={tmp_path / 'again'}")
    assert (status, errors) == (0, "")
    assert not [*(tmp_path / "again").rglob("result.json")]
    again = json.loads((tmp_path / "again" / "verdict.json").read_text())
    assert again["command"] == verdict["command"] == " ".join(["python train.py", *words])
    assert [again[key] for key in ("seeds", "estimate")] == [3, pytest.approx(verdict["estimate"], abs=1e-6)]
