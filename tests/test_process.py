"""What a command's process promises: its output, its status, the order of its words, its signals."""

import io
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tensorboard
from hydra._internal.callbacks import Callbacks
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from joblib.externals.loky.process_executor import TerminatedWorkerError
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from posenc.__main__ import main as door
from posenc.callbacks import progress
from posenc.checks import ConfigError
from posenc.config.mistakes import mistakes
from posenc.jobs import summary, sweep
from posenc.jobs.launch import failed_callbacks
from posenc.jobs.sweep import SweepSummary
from posenc.runs.sweep_journal import Journal
from posenc.statistics import simulation
from posenc.training.interrupt import GracefulStop, Interrupted
from posenc.training.loggers.metrics_file import EVENTS, open_logs
from tests.conftest import ROOT, Launch
from tests.reliability.kills import differences, outcome
from tests.test_training import WATCHED

WORDS = "from posenc.terminal import keep_going; keep_going()\n"


def script(text: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | more.pop("environment", {})
    arguments: dict[str, Any] = {"stdout": subprocess.PIPE} | more
    return subprocess.run(
        [sys.executable, "-c", text], env=environment, stderr=subprocess.PIPE, check=False, **arguments
    )


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252", "utf-8"])
def test_characters_that_cannot_be_written_are_replaced(encoding: str) -> None:
    text = "é · – → 位 ─"
    done = script(f"{WORDS}from rich.console import Console\nConsole().print({text!r})\nprint({text!r})",
                  environment={"PYTHONIOENCODING": encoding})  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode(encoding).splitlines() == [text.encode(encoding, "replace").decode(encoding)] * 2


def test_a_reader_that_has_gone_and_a_full_disk_stop_no_work(tmp_path: Path) -> None:
    work = f"{WORDS}import time\nfor k in range(3): print('x' * 100_000)\nopen({str(tmp_path / 'done')!r}, 'w').close()"
    reading, writing = os.pipe()
    os.close(reading)
    done = script(work, stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
    (tmp_path / "done").unlink()
    with Path("/dev/full").open("w") as full:
        done = script(work, stdout=full)
    assert done.returncode == 0
    assert done.stderr == b"the output cannot be written (No space left on device); the work goes on without it\n"
    assert (tmp_path / "done").exists()


@pytest.mark.slow
@pytest.mark.parametrize("word", ["--help", "--cfg=job"])
def test_a_command_whose_work_is_printing_fails_where_it_cannot_print(word: str) -> None:
    work = f"import sys; sys.argv[1:] = [{word!r}]; import train; train.launch(train.main, train.CONFIGS)"
    with Path("/dev/full").open("w") as full:
        assert script(work, stdout=full).returncode == 1
    assert script(work).returncode == 0


def test_every_command_with_options_of_its_own_prints_for_its_work() -> None:
    commands = [path for path in (ROOT / "posenc").rglob("*.py") if "argparse.ArgumentParser(" in path.read_text()]
    assert commands == [ROOT / "posenc" / "__main__.py"]
    assert "@printing()\ndef main(" in commands[0].read_text()


def ended(folder: Path, count: int, status: str = "completed") -> tuple[SweepSummary, Any]:
    """A sweep whose jobs have ended, all in one folder."""
    of_hydra = {"runtime": {"cwd": str(folder)}, "sweep": {"dir": str(folder)}, "callbacks": {"summary": {"id": "now"}}}
    config = OmegaConf.create({"hydra": of_hydra})
    watcher = SweepSummary("now")
    watcher._journal = journal = Journal.of(config.hydra)
    assert journal is not None
    journal.plan(count, [])
    for number in range(count):
        record = {"status": status, "error": None, "encoding": "rope", "dataset": "pattern", "seed": 0}
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


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_a_closed_terminal_stops_a_run_once_and_nohup_does_not() -> None:
    own = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run under nohup
    stop = GracefulStop()
    with stop.listening():
        work = stop.deferred()
        work.__enter__()
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGHUP)  # the system sends one, the shell another
        time.sleep(0.01)
        with pytest.raises(Interrupted, match="SIGHUP"):
            work.__exit__(None, None, None)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with GracefulStop().listening():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, own)


@pytest.mark.slow
def test_a_kill_after_the_last_step_loses_no_figure(command: Launch, tmp_path: Path) -> None:
    """What a kill leaves when result.json is about to be renamed, and what the same command makes of it."""
    line = (*WATCHED, "dataset=text", "dataset.length=16", "dataset.test_lengths=[16,24]", f"hydra.run.dir={tmp_path}")
    assert command(*line) == (0, "")
    before, names = outcome(tmp_path), {path.name for path in tmp_path.iterdir() if "tfevents" not in path.name}
    assert before["TensorBoard attention"]
    (tmp_path / "result.json").rename(tmp_path / ".result.json.999999999-00000000.part")
    for name in ("length.png", "by_position.csv"):
        (tmp_path / name).unlink()
    assert command(*line) == (0, "")
    assert differences(before, outcome(tmp_path)) == []
    assert {path.name for path in tmp_path.iterdir() if "tfevents" not in path.name} == names


@pytest.mark.parametrize("back", [-1000, 0, 1, 1000])
def test_a_clock_that_is_set_back_takes_no_part_of_a_curve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, back: int
) -> None:
    """Three processes log ten steps each, of which two are taken back; each begins `back` seconds before the last."""
    now = time.time()
    for turn in range(3):
        monkeypatch.setattr(time, "time", lambda turn=turn: now - turn * back)
        monkeypatch.setattr(os, "getpid", lambda turn=turn: 90 + 10 * turn)  # names are compared as text: 90, 100, 110
        logger = TensorBoardLogger(str(tmp_path), name="", version="")
        open_logs([logger], {}, steps=8 * turn)
        for step in range(8 * turn, 8 * turn + 10):
            logger.experiment.add_scalar("loss", turn, step)
        logger.experiment.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    shown = [(event.step, event.value) for event in events.Scalars("loss")]
    assert shown == [(step, min(step // 8, 2)) for step in range(26)]


def test_without_a_terminal_lines_are_flushed_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has reached the other end of a pipe: a validation at step 4, a step of 10 s, then steps of 1 s."""
    arrived, now = io.BytesIO(), [0.0]
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(arrived)))  # type: ignore[type-var]
    line = progress.ProgressLine(clock=lambda: now[0])
    trainer: Any = SimpleNamespace(global_step=0, max_steps=1200, callback_metrics={}, num_test_batches=[40, 8])
    module: Any = None
    seen: dict[str, list[str]] = {}

    def look(hook: str) -> None:
        text = arrived.getvalue().decode()
        arrived.seek(0)
        arrived.truncate()
        if text:
            seen[hook] = text.splitlines()

    line.on_train_start(trainer, module)
    look("start")
    for step in range(1, 1201):
        trainer.global_step, now[0] = step, now[0] + (10 if step <= 5 else 1)
        trainer.callback_metrics["train/loss"] = 1 / step
        line.on_train_batch_end(trainer)
        look(f"step {step}")
        if step == 4:
            trainer.callback_metrics["validation/accuracy"] = 0.5
            line.on_validation_end(trainer, module)
            look("validation")
    line.on_train_end(trainer, module)
    look("end")
    line.on_test_start(trainer, module)
    look("test start")
    for _ in range(48):
        now[0] += 1
        line.on_test_batch_end(trainer)
    look("test")
    line.on_test_end(trainer, module)
    look("test end")
    assert seen.pop("start") == ["training 0/1,200"]
    assert seen.pop("step 3") == ["training 3/1,200  loss 0.333"]
    assert seen.pop("validation") == ["training 4/1,200  loss 0.250  accuracy 0.500"]
    assert seen.pop("end") == ["training 1,200/1,200  loss 0.001  accuracy 0.500"]
    assert (seen.pop("test start"), seen.pop("test")) == (["testing 0/48"], ["testing 30/48"])
    assert seen.pop("test end") == ["testing 48/48"]
    steps = [int(hook.removeprefix("step ")) for hook in seen]
    assert steps == list(range(25, 1201, 30))  # step 5 comes 10 s after the validation: 20 s more
    assert all(len(lines) == 1 for lines in seen.values())


@pytest.mark.parametrize("more", [0, 1])
def test_more_runs_than_tensorboard_selects_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: int
) -> None:
    """The limit and the button are those of the pages that TensorBoard serves; a run may have several files."""
    served = Path(tensorboard.__file__).with_name("webfiles.zip")
    with zipfile.ZipFile(served) as archive:
        page = archive.read("index.js").decode()
    limits = {int(limit) for limit in re.findall(r"maxNamesToEnableByDefault=(\d+)", page)}
    assert limits == {summary.SELECTED}
    result: dict[str, Any] = {"dataset": "copy", "encoding": "t5", "seed": 0, "status": "completed", "error": None}
    folders = [tmp_path / f"copy/arm{k}/seed0" for k in range(summary.SELECTED + more)]
    for folder in folders:
        folder.mkdir(parents=True)
        for turn in range(2):
            (folder / f"{EVENTS}170000000{turn}.host.1.0").touch()
    summary.print_sweep(tmp_path, [(folder, result) for folder in folders])
    said = " ".join(capsys.readouterr().out.split())
    button = re.search(r'id="toggle-all"[^>]*>\s*(.*?)\s*</paper-button>', page)
    assert button is not None
    assert (f"here are {len(folders)}: press {button[1]} there" in said) == bool(more)
    assert ("selects none" in said) == bool(more)


@pytest.mark.parametrize(
    "words", [["--help"], ["report", "--help"], ["benchmark", "--help"], ["coverage"]], ids=" ".join
)
def test_a_command_that_prints_fails_where_its_output_is_lost(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 1 on a full disk, with a sentence; a reader that has gone (`| head`) makes no failure of it."""
    monkeypatch.setattr(simulation, "LAWS", ())
    for full in (True, False):
        reading, writing = os.pipe()
        os.close(reading)
        with Path("/dev/full").open("w") if full else os.fdopen(writing, "w") as lost:
            monkeypatch.setattr(sys, "stdout", lost)
            try:
                door(words)
                status = 0
            except SystemExit as end:
                status = int(end.code or 0)
            assert status == int(full)


def test_a_launcher_whose_processes_are_killed_leaves_a_table_of_what_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of three jobs one has ended; hydra.sweep.dir is relative, and the process has gone to another folder since."""
    monkeypatch.setattr(sweep, "report", lambda root, tables: print(f"report {root}"))
    of_hydra = {
        "runtime": {"cwd": str(tmp_path)},
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
