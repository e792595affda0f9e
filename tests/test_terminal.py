"""A table in a narrow terminal keeps every letter and number."""

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from omegaconf import OmegaConf

from posenc import terminal
from posenc.__main__ import main
from posenc.catalog.page import print_table
from posenc.jobs.job import at_work
from posenc.jobs.summary import print_run, print_sweep
from posenc.published import registry
from tests.commands import ROOT


@pytest.mark.parametrize("columns", [40, 80, 300])
def test_no_number_of_a_table_is_cut(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    numbers = [f"{k}.{k:03d}" for k in range(20)]
    table = terminal.table("title", "encoding", *(f"skill {2**k}" for k in range(20)))
    table.add_row("learned_relative", *numbers)
    terminal.show(table)
    said = capsys.readouterr().out
    assert {*numbers, "learned_relative", *(str(2**k) for k in range(20))} <= {*said.split()}
    assert "…" not in said


def test_a_title_wider_than_its_table_is_not_broken(capsys: pytest.CaptureFixture[str]) -> None:
    table = terminal.table("mine · encoding=learned_relative · seed 0", "length", "skill")
    table.add_row("32", "0.5")
    terminal.show(table)
    assert capsys.readouterr().out.splitlines()[0] == "mine · encoding=learned_relative · seed 0"


@pytest.mark.parametrize("columns", [40, 80])
def test_a_table_of_runs_is_not_cut(
    tmp_path: Path, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    scores = {"accuracy": 0.1234, "skill": 0.567}
    result = {
        "dataset": "multi_query_recall", "status": "completed", "error": None, "parameters": 1_234_567,
        "seconds": 1234.5, "test": {"16": scores, "1024": scores | {"skill": 0.891}},
        "ceilings": {"16": {"order_blind": 0.1, "order_aware": 1.0}},
    }  # fmt: skip
    names = ("learned_relative", "alibi_asymmetric")
    runs = [(tmp_path / name, result | {"encoding": name, "seed": seed}) for name in names for seed in (0, 1)]
    print_sweep(tmp_path, runs)
    said = capsys.readouterr().out
    assert {"0.1234", "0.567", "0.891", "1024", "1,234,567", "1234.5", *names} <= {*said.split()}
    assert "…" not in said


@pytest.mark.parametrize("columns", [40, 80])
def test_a_table_of_one_run_is_not_cut(
    tmp_path: Path, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    scores = {"accuracy": 0.1234, "accuracy_standard_error": 0.0567, "skill": -1.2345, "bits": 1.0}
    result = {
        "dataset": "pattern", "encoding": "rope", "seed": 0, "status": "completed", "error": None, "references": {},
        "test": {"1024": scores}, "ceilings": {"1024": {"order_blind": 0.6789, "order_aware": 0.9876}},
        "undefined": {}, "length_generalization": {},
    }  # fmt: skip
    print_run(tmp_path, result)
    said = capsys.readouterr().out
    assert all(number in said for number in ("1024", "0.1234 ± 0.0567", "-1.2345", "0.6789", "0.9876"))
    assert "…" not in said


def test_a_mean_skill_that_is_undefined_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As after an evaluation that does not test the trained length."""
    scores = {"accuracy": 0.5, "accuracy_standard_error": 0.1, "bits": 1.0}
    result = {
        "dataset": "pattern", "encoding": "rope", "seed": 0, "status": "completed", "error": None, "references": {},
        "test": dict.fromkeys(("64", "512"), scores), "ceilings": {}, "undefined": {},
        "length_generalization": {"aulc": None, "k50": None, "tested_to": 16.0},
    }  # fmt: skip
    print_run(tmp_path, result)
    lines = capsys.readouterr().out.splitlines()
    assert "tested to 16 times the trained length" in lines


@pytest.mark.slow
@pytest.mark.parametrize("columns", [40, 80])
def test_the_claims_in_a_narrow_terminal_keep_their_names_and_verdicts(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    registry.show()
    said = capsys.readouterr().out.split()
    for one in registry.entries():
        row = said[said.index(one.name) :]
        assert row[1:3] == ["not", "judged"] if one.verdict is None else row[1] == one.verdict.outcome.split()[0]
    assert "minutes" in said


@pytest.mark.parametrize("inside", [True, False])
def test_a_sentence_is_broken_between_words_and_in_a_terminal_alone(
    inside: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR" if inside else "NO_COLOR", "1")
    monkeypatch.delenv("NO_COLOR" if inside else "FORCE_COLOR", raising=False)
    path = "/a/" + "long/" * 30
    text = (
        f"rope:t5:none [b] has the highest skill {'at length 32, ' * 8} · report {path} · rope_resonance_yarn is next"
    )
    terminal.say(text)
    lines = capsys.readouterr().out.splitlines()
    assert " ".join(lines).split() == text.split()
    assert (len(lines) > 1) == inside
    assert all(len(line) <= 80 or line.strip() == path for line in lines) == inside


@pytest.mark.slow
@pytest.mark.parametrize("command", ["encodings", "recipes"])
def test_a_catalogue_at_80_columns_has_every_name_and_only_whole_words(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    main([command])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    page = (ROOT / "docs" / f"{command}.md").read_text()
    names = re.findall(r"^## (\w+)$", page, re.MULTILINE)
    assert {*names} <= {line.split()[0] for line in lines if line.strip()}
    head = next(k for k, line in enumerate(lines) if "──" in line)
    cells = [line for line in lines[head + 1 :] if line.startswith(" ")]
    assert {*re.findall(r"\w+", " ".join(cells))} <= {*re.findall(r"\w+", page)}


def test_a_file_has_every_column(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    print_table("title", ["name", "far"], [("rope", "x" * 300)], right=(), spare=("far",))
    assert "x" * 300 in capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "80")
    print_table("title", ["name", "far"], [("rope", "x" * 300)], right=(), spare=("far",))
    said = capsys.readouterr().out
    assert "xx" not in said
    assert said.splitlines()[-1] == "A line of 80 characters has no room for: far."


def test_runs_that_fail_alike_are_told_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failed = {"dataset": "copy", "encoding": "rope", "status": "failed", "error": "length must be at least 21, got 4."}
    runs = [(tmp_path / f"seed{seed}", failed | {"seed": seed}) for seed in range(3)]
    print_sweep(tmp_path, [*runs, (tmp_path / "seed3", failed | {"seed": 3, "error": "another"})])
    said = capsys.readouterr().out
    assert "3 runs, such as seed0: length must be at least 21, got 4.\n" in said
    assert "seed3: another\n" in said
    assert said.count("at least 21") == 1


@pytest.mark.parametrize(
    ("alone", "words"), [(True, "pattern · encoding=rope · seed 3 is being checked\n"), (False, "")]
)
def test_a_run_names_itself_before_torch_is_imported(
    alone: bool, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The imports take seconds. A job of a sweep is silent, because the sweep has said what it does."""
    stub, printed = ModuleType("posenc.jobs.run"), list[str]()

    def run(*arguments: object) -> tuple[dict[str, str], None]:
        printed.append(capsys.readouterr().out)
        return {"status": "completed"}, None

    vars(stub)["run"] = run
    monkeypatch.setitem(sys.modules, "posenc.jobs.run", stub)
    record = {"dataset": "pattern", "encoding": "rope", "seed": 3, "config_hash": "x", "data_digest": None}
    at_work(OmegaConf.create({}), tmp_path / "run", record, alone, lambda decision: None, force=False)
    assert printed == [words]
