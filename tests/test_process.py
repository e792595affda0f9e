"""What a command's process promises: its output, its status, the order of its words, its signals."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from posenc.__main__ import main as door
from posenc.callbacks import progress
from posenc.jobs import outcome as outcome_of_run
from posenc.statistics import simulation
from posenc.training.interrupt import GracefulStop, Interrupted
from posenc.training.loggers.metrics_file import open_logs
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


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252", "utf-8"])
def test_characters_that_cannot_be_written_are_replaced(encoding: str) -> None:
    text = "é · – → 位 ─"
    done = script(f"{WORDS}from rich.console import Console\nConsole().print({text!r})\nprint({text!r})",
                  environment={"PYTHONIOENCODING": encoding})  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode(encoding).splitlines() == [text.encode(encoding, "replace").decode(encoding)] * 2


@pytest.mark.slow
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
    assert done.stderr == b"the output cannot be written (No space left on device); work continues without it\n"
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
    assert "@printing()\ndef ask(" in commands[0].read_text()


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
    assert before["TensorBoard attention/layer_1"]
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


def test_a_result_names_the_commit_of_the_code(tmp_path: Path) -> None:
    """A plus sign says that files of the code differ or are new. A repository around posenc is another project's."""
    own = tmp_path / "own"
    own.mkdir()
    git = ["git", "-C", str(own), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"], ["tag", "v1"]):
        subprocess.run([*git, *words], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout
    commit = outcome_of_run.commit.__wrapped__
    assert commit(own) == head[:12]
    (own / "docs").mkdir()
    (own / "docs" / "runs.csv").touch()
    subprocess.run([*git, "add", "docs"], check=True)
    assert commit(own) == head[:12]  # it is no code
    (own / "posenc" / "encodings").mkdir(parents=True)
    (own / "posenc" / "encodings" / "mine.py").touch()
    assert commit(own) == head[:12] + "+"  # git need not know a new encoding
    (own / "site-packages").mkdir()
    assert commit(own / "site-packages") is None
    (tmp_path / "broken" / ".git").mkdir(parents=True)
    assert commit(tmp_path / "broken") is None
