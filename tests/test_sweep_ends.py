"""What the end of a sweep says: its table, its report, and what failed on the way."""

import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import tensorboard
from hydra._internal.callbacks import Callbacks
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from joblib.externals.loky.process_executor import TerminatedWorkerError
from omegaconf import OmegaConf

from posenc.checks import ConfigError
from posenc.config.mistakes import mistakes
from posenc.jobs import summary, sweep
from posenc.jobs.launch import failed_callbacks
from posenc.jobs.sweep import SweepSummary
from posenc.published import sweep as published
from posenc.runs.files import EVENTS, OVERVIEW, SELECTED
from posenc.runs.result import RESULT
from posenc.runs.sweep_journal import Journal
from tests.conftest import ROOT


def ended(folder: Path, count: int, status: str = "completed", error: str | None = None) -> tuple[SweepSummary, Any]:
    """A sweep whose jobs have ended, all in one folder."""
    of_hydra = {"runtime": {"cwd": str(folder)}, "sweep": {"dir": str(folder)}, "callbacks": {"summary": {"id": "now"}}}
    config = OmegaConf.create({"hydra": of_hydra})
    watcher = SweepSummary("now")
    watcher._journal = journal = Journal.of(config.hydra)
    assert journal is not None
    journal.plan(count, [])
    (folder / "seed0").mkdir()
    (folder / "seed0" / RESULT).touch()  # the tests replace the function that reads it
    for number in range(count):
        record = {"status": status, "error": error, "encoding": "rope", "dataset": "pattern", "seed": 0}
        record["command"] = {"of": number}  # a mapping has no order, and two jobs may share a folder
        journal.note(number, status, began=0.0, skipped=False, folder=str(folder / "seed0"), result=record)
    return watcher, config


@pytest.mark.parametrize("part", ["nothing", "a run", "the report", "the report's folder", "the journal", "the table"])
def test_whatever_fails_at_the_end_of_a_sweep_reaches_the_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], part: str
) -> None:
    """Two jobs share a folder, so their rows cannot be ordered by anything but its name."""

    def fail(error: Exception) -> Any:
        def failing(*_: Any) -> None:
            raise error

        return failing

    watcher, config = ended(tmp_path, 2, "failed" if part == "a run" else "completed")
    monkeypatch.setattr(sweep, "report", lambda root, tables: print(f"report {root}"))
    if part == "the report":
        monkeypatch.setattr(sweep, "report", fail(ValueError("no\nnumbers")))
    if part == "the report's folder":
        monkeypatch.setattr(sweep, "report", fail(ConfigError("cannot be written")))
    if part == "the journal":
        monkeypatch.setattr(Journal, "close", fail(OSError(28, "No space left on device")))
    if part == "the table":
        monkeypatch.setattr(summary, "print_sweep", fail(TypeError("a row")))
    if part == "nothing":
        watcher.on_multirun_end(config)
    else:
        with pytest.raises(SystemExit) as stop:
            watcher.on_multirun_end(config)
        assert stop.value.code == 1
    out, err = capsys.readouterr()
    assert ("pattern · 2 runs" in out) == (part != "the table")
    assert ("report /" in out) == (part not in ("the report", "the report's folder"))
    assert err.count("error: ") == (part not in ("nothing", "a run"))
    assert "Traceback" not in err


def test_if_no_run_leaves_a_result_only_the_table_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    watcher, config = ended(tmp_path, 2, "failed", "the disk is gone")
    (tmp_path / "seed0" / RESULT).unlink()
    monkeypatch.setattr(published, "judge", lambda *_: print("judged"))
    config.claim = {}
    with pytest.raises(SystemExit) as stop:
        watcher.on_multirun_end(config)
    out, err = capsys.readouterr()
    assert (stop.value.code, err) == (1, "")
    assert out.count("2 runs, such as seed0: the disk is gone") == 1
    assert "judged" not in out


def test_a_journal_that_is_lost_or_cannot_be_written_takes_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sweep, "report", print)
    watcher, config = ended(tmp_path, 2)
    journal = watcher._journal
    assert journal is not None

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device", "it")

    monkeypatch.setattr("posenc.runs.sweep_journal.write_text", full)
    for path in journal.folder.iterdir():
        path.unlink()
    record = {"status": "failed", "error": "no room", "encoding": "t5", "dataset": "pattern", "seed": 1}
    journal.note(1, "failed", began=0.0, skipped=False, folder=str(tmp_path / "seed1"), result=record)
    with pytest.raises(SystemExit):
        watcher.on_multirun_end(config)
    out, err = capsys.readouterr()
    assert "t5" in out
    assert "no room" in out
    assert "error: the sweep's journal failed: [Errno 28] No space left on device: 'it'" in err


def test_a_callback_of_the_users_that_fails_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    class Mine(Callback):
        def on_multirun_end(self, **_: Any) -> None:
            raise ValueError("of mine")

    callbacks = Callbacks()
    callbacks.callbacks = [Mine()]
    with failed_callbacks() as failed:
        callbacks.on_multirun_end(config=OmegaConf.create())
    assert failed == ["Callback Mine.on_multirun_end raised ValueError: of mine"]
    assert capsys.readouterr().err == f"error: {failed[0]}\n"


@pytest.mark.parametrize("more", [0, 1])
def test_more_runs_than_tensorboard_selects_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: int
) -> None:
    """The limit and the button are those of the pages that TensorBoard serves; a run may have several files.

    An overview, which a sweep of such runs has, is opened in their place.
    """
    served = Path(tensorboard.__file__).with_name("webfiles.zip")
    with zipfile.ZipFile(served) as archive:
        page = archive.read("index.js").decode()
    limits = {int(limit) for limit in re.findall(r"maxNamesToEnableByDefault=(\d+)", page)}
    assert limits == {SELECTED}
    folders = [tmp_path / f"copy/arm{k}/seed0" for k in range(SELECTED + more)]
    for folder in folders:
        folder.mkdir(parents=True)
        for turn in range(2):
            (folder / f"{EVENTS}170000000{turn}.host.1.0").touch()
    summary.print_tensorboard(tmp_path)
    said = " ".join(capsys.readouterr().out.split())
    button = re.search(r'id="toggle-all"[^>]*>\s*(.*?)\s*</paper-button>', page)
    assert button is not None
    assert (f"here are {len(folders)}: press {button[1]} there" in said) == bool(more)
    assert ("selects none" in said) == bool(more)
    overview = tmp_path / OVERVIEW / "arm0"
    overview.mkdir(parents=True)
    (overview / f"{EVENTS}1700000000.host.1.0").touch()
    summary.print_tensorboard(tmp_path)
    said = "".join(capsys.readouterr().out.split())
    assert said.endswith(f"--logdir{tmp_path / OVERVIEW}")


def test_a_launcher_whose_processes_are_killed_leaves_a_table_of_what_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of three jobs one has ended; hydra.sweep.dir is relative, and the process has gone to another folder since."""
    monkeypatch.setattr(sweep, "report", lambda root, tables: print(f"report {root}"))
    monkeypatch.setattr(sweep, "read_once", lambda: None)  # of configs, by Hydra, which runs no sweep here
    of_hydra = {
        "runtime": {"cwd": str(tmp_path), "config_sources": []},
        "sweep": {"dir": "mine"},
        "callbacks": {"summary": {"id": "now"}},
        "sweeper": {"_target_": "Another", "n_trials": 3, "params": {"seed": "1,2,3"}},
        "overrides": {"task": [], "hydra": []},
        "mode": RunMode.MULTIRUN,
        "launcher": {},
    }
    config = OmegaConf.create({"hydra": of_hydra, "force": True, "trainer": {"max_steps": 1, "validate_every": 1}})
    watcher = SweepSummary("now")
    (tmp_path / "elsewhere").mkdir()

    def command() -> None:
        watcher.on_multirun_start(config)
        journal = watcher._journal
        assert journal is not None
        record = {"status": "completed", "error": None, "encoding": "rope", "dataset": "pattern", "seed": 7}
        folder = str(tmp_path / "mine" / "seed7")
        Path(folder).mkdir()
        Path(folder, RESULT).touch()
        journal.note(0, "completed", began=0.0, skipped=False, folder=folder, result=record)
        journal.note(1, "running", began=0.0, skipped=False)
        monkeypatch.chdir(tmp_path / "elsewhere")
        raise TerminatedWorkerError("killed")

    with pytest.raises(SystemExit) as stop, mistakes(ROOT / "configs"):
        command()
    out, err = capsys.readouterr()
    assert stop.value.code == 1, err
    assert "pattern · 1 runs" in out
    assert f"2 jobs left no result: their processes died, or could not write to {tmp_path / 'mine'}" in out
    assert f"report {tmp_path / 'mine'}" in out
    assert "error: the process of a run died (TerminatedWorkerError: killed)" in err
    assert [path.name for path in (tmp_path / "mine" / ".sweeps").iterdir()] == ["now.json"]
    assert [*(tmp_path / "elsewhere").iterdir()] == []
