"""A ledger records what its runs measured, adds each run once, and refuses runs that do not fit."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from posenc.checks import ConfigError
from posenc.report.numbers.compare import compare
from posenc.report.reading import ledger
from posenc.report.reading.read import read
from posenc.report.reading.saved import TABLE_COLUMNS
from posenc.runs.identity import config_hash
from tests.conftest import ROOT, Launch
from tests.report.conftest import Make


def identified(folder: Path, **changes: Any) -> Path:
    """A run folder whose result has the identity of its config, as training leaves it."""
    record = folder / ".hydra" / "config.yaml"
    config = yaml.safe_load(record.read_text())
    result = json.loads((folder / "result.json").read_text())
    for group in ("encoding", "dataset"):
        config[group]["_target_"] = f"mine.{result[group]}"
    record.write_text(yaml.safe_dump(config))
    result |= {"config_hash": config_hash(config)} | changes
    (folder / "result.json").write_text(json.dumps(result))
    return folder


@pytest.fixture
def sweep(run: Make, root: Path) -> Path:
    """Three encodings, four seeds, two data sets; one run diverged."""
    for seed in range(4):
        for place, encoding in enumerate(("none", "rope", "t5")):
            identified(run(encoding, seed, {32: 0.3 * place + 0.01 * seed, 64: 0.1}), skill_steps={".9": 100 * seed})
            identified(run(encoding, seed, 0.2, dataset="sorting", config={"data.train_size": 100 * place or None}))
    identified(run("fire", 0, status="diverged", error="loss is nan, at step 7"))
    return root / "sweep"


def said(run: Any) -> dict[str, Any]:
    """The values of a run that a comparison reads."""
    return {
        "identity": run.identity, "settings": run.settings, "test": run.test, "ceilings": run.ceilings,
        "status": run.status, "trained": run.trained, "steps": run.result.get("skill_steps"),
        "costs": [run.measured(name) for name in ("parameters", "steps", "seconds")],
    }  # fmt: skip


def test_a_ledger_says_what_its_runs_say(sweep: Path, tmp_path: Path) -> None:
    book = tmp_path / "runs.csv"
    change = ledger.add(book, [sweep])
    assert (len(change.added), change.known, change.total, change.notes) == (25, 0, 25, [])
    before = sorted((said(run) for run in read([sweep])[0]), key=str)
    after = sorted((said(run) for run in ledger.runs_of(book).values()), key=str)
    assert [{**a, "test": None} for a in after] == [{**b, "test": None} for b in before]
    for one, other in zip(before, after, strict=True):
        for length, row in one["test"].items():
            assert other["test"][length] == pytest.approx(row, abs=1e-6)
    assert str(sweep) not in book.read_text()
    one, other = (compare([root], None, 0.01) for root in (sweep, book))
    assert (one.first, one.findings, one.across) == (other.first, other.findings, other.across)


def test_a_run_is_taken_once(sweep: Path, tmp_path: Path) -> None:
    book = tmp_path / "runs.csv"
    ledger.add(book, [sweep / "pattern"])
    parts = ledger.add(book, [sweep / "sorting", sweep / "pattern" / "rope"])
    assert (len(parts.added), parts.known, parts.total) == (12, 4, 25)
    whole = tmp_path / "whole.csv"
    ledger.add(whole, [sweep])
    assert book.read_text() == whole.read_text(), "the order in which runs came is seen"
    assert ledger.add(book, [whole]).known == 25
    assert book.read_text() == whole.read_text()


def test_what_contradicts_or_does_not_fit_is_refused(sweep: Path, run: Make, tmp_path: Path) -> None:
    book = tmp_path / "runs.csv"
    ledger.add(book, [sweep])
    text = book.read_text()
    again = run("rope", 1, {32: 0.9, 64: 0.1}, sweep="again")
    refused = {
        again: "the ledger has this run with scores that differ by up to 0.5900",
        run("rope", 8, 0.5, sweep="other"): "its config has the identity",
        run("rope", 9, 0.5, sweep="auto", config={"trainer.precision": "auto"}): "trainer.precision=auto is another",
        run("rope", 10, 0.5, sweep="broken", status="interrupted"): "its status is interrupted",
    }
    for folder, why in refused.items():
        if "other" not in folder.parts:
            identified(folder)
        change = ledger.add(book, [folder])
        assert not change.added
        assert why in change.notes[0].text
    assert book.read_text() == text


def test_a_command_says_why_it_adds_nothing(
    sweep: Path, run: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book, stopped = tmp_path / "runs.csv", [run("rope", seed, 0.5, sweep="s", status="interrupted") for seed in (1, 2)]
    with pytest.raises(ConfigError) as refused:
        ledger.show("add", stopped, book)
    assert str(refused.value) == (
        f"nothing can be added to {book}: {stopped[0]} and {stopped[1]}: its status is interrupted, and only what has "
        "come to its end counts."
    )
    assert not book.exists()
    (tmp_path / "empty.csv").write_text(",".join(TABLE_COLUMNS) + "\n")
    with pytest.raises(ConfigError, match=r"nothing can be added to .*: no run is there\."):
        ledger.show("add", [tmp_path / "empty.csv"], book)
    ledger.show("add", [sweep / "pattern"], book)
    ledger.show("add", [sweep / "pattern"], book)
    assert capsys.readouterr().out.endswith(f"nothing to add: the ledger has all 13 runs\n{book}: 13 runs\n")
    ledger.show("add", [sweep / "pattern", *stopped], book)
    assert "0 runs added, 13 known before" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new"), [("seed1", "seed 1"), ('""optimizer.lr"":0.003', '""optimizer.lr"":0.01'), ("diverged", "failed")]
)
def test_a_ledger_changed_by_hand_is_used_for_nothing(sweep: Path, tmp_path: Path, old: str, new: str) -> None:
    book = tmp_path / "runs.csv"
    ledger.add(book, [sweep])
    changed = book.read_text().replace(old, new)
    book.write_text(changed)
    if old == "seed1":  # a name alone says nothing
        assert len(ledger.runs_of(book)) == 25
        return
    with pytest.raises(ConfigError, match="is not used"):
        ledger.add(book, [sweep])
    assert book.read_text() == changed


def test_a_ledger_whose_rows_are_all_left_out_is_used_for_nothing(sweep: Path, tmp_path: Path) -> None:
    book = tmp_path / "runs.csv"
    ledger.add(book, [sweep])
    head, *rows = book.read_text().splitlines()
    place = head.split(",").index("status")
    (first,) = csv.reader([rows[0]])
    first[place] = "exploded"
    with book.open("w") as file:
        csv.writer(file).writerows([head.split(","), first])
    with pytest.raises(ConfigError, match="is not used: the unknown status exploded"):
        ledger.runs_of(book)


def test_a_result_of_the_ledger_tells_what_the_run_told(sweep: Path, tmp_path: Path) -> None:
    book = tmp_path / "runs.csv"
    ledger.add(book, [sweep])
    for folder in (sweep / "pattern").glob("*/*"):
        result = json.loads((folder / "result.json").read_text())
        asked = {"config_hash": result["config_hash"], "data_digest": None, "start_digest": None}
        found = ledger.find(book, asked)
        assert found is not None
        for key in ("status", "encoding", "dataset", "seed", "parameters", "steps", "undefined", "ceilings"):
            assert found[key] == result[key], key
        assert found["test"].keys() == result["test"].keys()
        assert ledger.find(book, asked | {"data_digest": "other"}) is None


@pytest.mark.slow
def test_a_sweep_does_not_run_what_its_ledger_has(
    command: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [
        "-m", "encoding=none,rope", "dataset=sorting", "dataset.length=8", "trainer.max_steps=2", "data.eval_size=64",
        "trainer.precision=32-true", "threads=1",
    ]  # fmt: skip
    assert command(*words, "encoding=none", f"hydra.sweep.dir={tmp_path / 'first'}") == (0, "")
    book = tmp_path / "runs.csv"
    ledger.add(book, [tmp_path / "first"])
    printed: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr("builtins.print", lambda *text, **_: printed.append(" ".join(map(str, text))))
        assert command(*words, f"ledger={book}", f"hydra.sweep.dir={tmp_path / 'second'}") == (0, "")
    assert any(line.startswith("1 of 2 runs were finished already, 1 was run") for line in printed)
    (plan,) = (json.loads(path.read_text()) for path in (tmp_path / "second" / ".sweeps").glob("*.json"))
    assert [job["skipped"] for job in plan["jobs"]] == [True, False]
    assert [path.parent.parent.name for path in (tmp_path / "second").rglob("result.json")] == ["rope"]
    with (tmp_path / "second" / "comparison_summary.csv").open() as file:
        assert {row["encoding"] for row in csv.DictReader(file)} == {"none", "rope"}
    status, said = command(*words[2:], "encoding=none", "trainer.precision=auto", f"ledger={book}")
    assert status == 2
    assert "add trainer.precision=32-true" in said


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        (
            "python train.py encoding=rope ledger=/of/mine/runs.csv hydra/launcher=joblib hydra.launcher.n_jobs=2",
            "python train.py encoding=rope",
        ),
        (
            "python train.py 'dataset.length=[4, 16]' '+logger.save_dir=/a b' seed=1",
            "python train.py 'dataset.length=[4, 16]' seed=1",
        ),
        ("python train.py 'a=[4, 16]' seed='range(10)'", "python train.py 'a=[4, 16]' seed='range(10)'"),
        ("python train.py threads=1 'no end", ""),
    ],
)
def test_a_command_of_a_ledger_names_no_path_of_a_machine(command: str, kept: str) -> None:
    assert ledger.without_how(command) == kept


@pytest.mark.parametrize("table", sorted(ROOT.glob("docs/**/runs.csv")), ids=lambda table: table.parent.name)
def test_the_committed_ledgers_name_none(table: Path) -> None:
    runs = ledger.runs_of(table).values()
    assert all(ledger.without_how(run.command) == run.command for run in runs)
