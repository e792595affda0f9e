"""Runs of a study: what they leave on disk, how they go on, and how they refuse."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import train
from posenc.__main__ import main
from posenc.checks import ConfigError
from posenc.jobs.launch import launch
from posenc.studies import panel
from posenc.studies.gradient_flow import GradientFlow


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run `python train.py ARGUMENTS`: exit status, stdout, stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        status = 0
        try:
            launch(train.main, train.CONFIGS)
        except SystemExit as stop:
            status = int(stop.code or 0)
        told = capfd.readouterr()
        return status, told.out, told.err

    return run


@pytest.mark.slow
def test_a_study_leaves_numbers_figure_and_verdicts(command: Any, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    arguments = ("experiment=quadratic_cost", "profile=smoke", f"hydra.run.dir={folder}")
    status, told, errors = command(*arguments)
    assert (status, errors) == (0, "")
    names = {path.name for path in folder.iterdir()}
    assert names == {".hydra", "study.csv", "study.json", "verdict.json", "figure.png", "figure.svg"}
    record, judged = (json.loads((folder / name).read_text()) for name in ("study.json", "verdict.json"))
    assert record["status"] == "completed"
    assert {verdict["statement"]: verdict["outcome"] for verdict in judged} == record["verdicts"]
    assert all(verdict["outcome"] in told for verdict in judged)
    assert (folder / "study.csv").read_text().startswith("quantity,arm,at,seed,value\nflops,explicit,32,0,")
    assert "${" not in (folder / ".hydra" / "config.yaml").read_text()
    status, told, errors = command(*arguments)
    assert (status, errors) == (0, "")
    assert "this study is finished" in told
    main(["panel", str(folder), "--output", str(tmp_path / "panel.png")])
    assert (tmp_path / "panel.png").stat().st_size > 10_000
    (folder / "study.csv").unlink()
    with pytest.raises(ConfigError, match=r"has lost study.csv; run its study again"):
        panel.read(folder)


@pytest.mark.slow
def test_a_study_that_is_stopped_goes_on_where_it_was(
    command: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ctrl-C after the first profile: nothing is measured twice, and the numbers are those of a whole study."""
    folder, whole = tmp_path / "study", tmp_path / "whole"
    few = ("experiment=gradient_flow", "profile=smoke", "study.initialisations=[xavier]", "study.depths=[2,4]")
    few += ("study.profile_depth=24", "study.trainability=null", "threads=1")
    profile, measured = GradientFlow.profile, []

    def stopped(self: GradientFlow, case: tuple[str, str, int]) -> Any:
        if measured:
            raise KeyboardInterrupt
        measured.append(case)
        return profile(self, case)

    with monkeypatch.context() as patch:
        patch.setattr(GradientFlow, "profile", stopped)
        status, _, errors = command(*few, f"hydra.run.dir={folder}")
    assert status == 130
    assert errors == f"the answers are kept: continue with the same command and hydra.run.dir={folder}\n"
    assert {path.name for path in folder.iterdir()} == {"answers.jsonl"}
    status, _, errors = command(*few, "study.seeds=3", f"hydra.run.dir={folder}")
    assert status == 2
    assert "contains the beginning of another study" in errors
    status, told, _ = command(*few, f"hydra.run.dir={folder}")
    assert status == 0
    assert f"continuing in {folder}; answers so far: 1" in told
    assert "INVALID" in told  # the claims about what trains, which this command leaves out
    assert command(*few, f"hydra.run.dir={whole}")[0] == 0
    assert (folder / "study.csv").read_text() == (whole / "study.csv").read_text()
    assert not (folder / "answers.jsonl").exists()
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir() if path.is_file()}
    status, again, errors = command(*few, f"hydra.run.dir={folder}")
    assert (status, errors) == (0, "")
    assert "this study is finished" in again
    assert told.partition("INVALID")[2].splitlines()[:2] == again.partition("INVALID")[2].splitlines()[:2]
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir() if path.is_file()} == before
    measured.clear()
    with monkeypatch.context() as patch:  # force: the former result stays until the new one is there
        patch.setattr(GradientFlow, "profile", stopped)
        assert command(*few, "force=true", f"hydra.run.dir={folder}")[0] == 130
    assert {path: path.stat().st_mtime_ns for path in before} == before
    numbers = (folder / "study.csv").read_text()
    assert command(*few, "force=true", f"hydra.run.dir={folder}")[0] == 0
    assert (folder / "study.csv").read_text() == numbers
    assert (folder / "study.json").stat().st_mtime_ns != before[folder / "study.json"]
    assert not (folder / "answers.jsonl").exists()
    record = folder / "study.json"
    record.write_text(record.read_text().replace('"schema": 2', '"schema": 3'))
    status, _, errors = command(*few, f"hydra.run.dir={folder}")
    assert status == 2
    assert "reads and writes layout 2" in errors


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("profile=nonsense",), "profile=nonsense does not exist; the options are full, quick, smoke."),
        (("study.seeds=0",), "RankCollapse: seeds must be a whole number ≥ 1, got 0."),
        (("+study.arms.none.options={cauzal: true}",), "Arm: option=cauzal is not one of .*Did you mean causal?"),
        (("study.length=1",), "RankCollapse: length must be a whole number ≥ 2, got 1."),
        (("study.seed=1",), "study.seed does not exist; study has .*Did you mean seeds?"),
        (("+study.panels.more=[ropes]",), "arm=ropes is not one of none.*Did you mean rope?"),
        (("study.claims.0.direction=up",), "Claim: direction=up is not one of above, below, equal."),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_no_folder(
    command: Any, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    folder = tmp_path / "study"
    status, _, errors = command("experiment=rank_collapse", *arguments, f"hydra.run.dir={folder}")
    assert status == 2
    assert len(errors.splitlines()) == 1
    assert re.search(message, errors), errors
    assert not folder.exists()
