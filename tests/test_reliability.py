"""Nothing is lost: short forms of what tests/reliability does at length, and what lies beneath."""

import io
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import SoftFileLock
from hypothesis import given
from hypothesis import strategies as st

from posenc.checks import ConfigError
from posenc.config.build import build
from posenc.runs import lock
from posenc.runs.lock import locked
from posenc.runs.result import write_result
from posenc.training.checkpoint_file import Damaged, DurableFiles, read, seal
from posenc.training.checkpoints import interval
from posenc.training.divergence import Diverged
from posenc.training.interrupt import GracefulStop, Interrupted
from posenc.training.module import SequenceModule
from tests.commands import TRAIN, Forked, forked
from tests.conftest import Launch
from tests.reliability.kills import differences, outcome
from tests.reliability.soak import soak
from tests.test_training import SMALL, result


@pytest.mark.slow
def test_kills_damage_and_a_full_disk(tmp_path: Path) -> None:
    """In one process that forks; not in this one, whose threads would not survive it."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom tests.reliability import damaged, disk, kills\n"
        "status = kills.main(['--times', '2', '--seed', '4', '--steps', '30']) or damaged.main(['--each', '3'])\n"
        "sys.exit(status or disk.main(['--steps', '30']))\n"
    )
    done = forked(str(script))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 2 bit-equal" in done.stdout
    assert "9 of 9 refused" in done.stdout
    assert "2 of 2: a clear error" in done.stdout


@pytest.mark.slow
def test_a_short_soak() -> None:
    grown, _, opened = soak(400)
    assert opened == 0
    assert grown < 0.05


@given(st.data())
def test_every_flipped_bit_and_every_cut_shows(data: st.DataObject) -> None:
    buffer = io.BytesIO()
    torch.save({"a": torch.arange(10.0), "b": 3}, buffer)
    whole = seal(buffer.getvalue())
    place = data.draw(st.integers(0, len(whole) - 1))
    bit = data.draw(st.integers(0, 7))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sealed.ckpt"
        for content in (whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :], whole[:place]):
            path.write_bytes(content)
            with pytest.raises(Damaged):
                read(path)
        path.write_bytes(whole)
        assert read(path)["b"] == torch.load(path, weights_only=True)["b"] == 3


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    DurableFiles().save_checkpoint({"step": 1}, path)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*last\.ckpt"):
        DurableFiles().save_checkpoint({"step": 2}, path)
    assert read(path) == {"step": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["last.ckpt"]


def test_numbers_that_json_has_not_become_null(tmp_path: Path) -> None:
    write_result(tmp_path, {"status": "completed", "test": {"32": {"loss": float("nan"), "all": [float("inf")]}}})
    assert json.loads((tmp_path / "result.json").read_text())["test"] == {"32": {"loss": None, "all": [None]}}


@pytest.mark.parametrize(
    ("every", "steps", "minutes"), [(0, 0, None), (7, 7, None), ("30s", 0, 0.5), ("10min", 0, 10), ("1.5 h", 0, 90)]
)
def test_steps_or_minutes(every: int | str, steps: int, minutes: float | None) -> None:
    assert interval(every) == (steps, minutes)


@pytest.mark.parametrize("every", ["soon", "10 weeks", "0min", -1, 2.5, None, True])
def test_neither_steps_nor_minutes(every: Any) -> None:
    with pytest.raises(ConfigError, match="checkpoint_every must be"):
        interval(every)


@pytest.mark.slow
def test_a_damaged_checkpoint_means_from_the_one_before(command: Launch, tmp_path: Path) -> None:
    line = (*SMALL, "model.dropout=0.1", "trainer.checkpoint_every=0.0001s")  # one a step
    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert command(*line, f"hydra.run.dir={whole}")[0] == 0
    assert command(*line, f"hydra.run.dir={folder}")[0] == 0
    checkpoints = folder / "checkpoints"
    assert [read(checkpoints / f"{name}.ckpt")["global_step"] for name in ("previous", "last")] == [11, 12]
    (folder / "result.json").unlink()
    last = checkpoints / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-1])
    launched = forked(TRAIN, *line, f"hydra.run.dir={folder}")
    assert launched.returncode == 0, launched.stderr
    assert "is not a whole checkpoint of posenc" in launched.stdout
    assert f"Continuing from {checkpoints / 'previous.ckpt'}" in launched.stdout
    assert differences(outcome(whole), outcome(folder)) == []


def test_a_gradient_that_is_not_finite_ends_a_run_before_it_is_applied(
    composed: Callable[..., Any], tmp_path: Path
) -> None:
    small = [word for word in SMALL if not word.startswith("~")]
    parts = build(composed(*small, "~callbacks", "+callbacks={}", "~logger", "+logger={}"), tmp_path)
    head, seen = parts.module.encoder.head, list[torch.Tensor]()

    def spoil(gradient: torch.Tensor) -> torch.Tensor:
        seen.append(head.weight.detach().clone())
        return gradient * (float("inf") if len(seen) == 7 else 1)

    head.weight.register_hook(spoil)
    with pytest.raises(Diverged, match=r"gradient norm (inf|nan), loss \d\.\d+ at step 7, learning rate 0\.0002"):
        parts.trainer.fit(parts.module, datamodule=parts.data)
    assert torch.equal(head.weight, seen[-1])
    assert parts.checkpoints.last_good() == "the last good checkpoint is checkpoints/last.ckpt, of step 5"


def test_a_run_that_diverges_names_step_checkpoint_and_rate(command: Launch, tmp_path: Path) -> None:
    status, _ = command(*SMALL, "optimizer.lr=1e30", "trainer.checkpoint_every=1", f"hydra.run.dir={tmp_path / 'run'}")
    record = result(tmp_path / "run")
    assert (status, record["status"]) == (1, "diverged")
    step = record["steps"]
    assert f"step {step + 1}, learning rate" in record["error"] or f"step {step}, learning rate" in record["error"]
    assert "the last good checkpoint is checkpoints/last.ckpt, of step" in record["error"]


@pytest.mark.parametrize("training", [True, False])
def test_memory_that_cannot_be_had(
    command: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, training: bool
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 68719476736 bytes.")

    monkeypatch.setattr(SequenceModule, "training_step" if training else "test_step", fail)
    written_out = ("model.attention=explicit", "trainer.precision=32-true")
    assert command(*SMALL, *written_out, f"hydra.run.dir={tmp_path / 'run'}")[0] == 1
    error = result(tmp_path / "run")["error"]
    assert error.startswith("out of memory")
    assert "64.0 GiB were asked for at once" in error
    wanted = (
        "lower data.batch_size (now 8), dataset.length (now 32)" if training else "lower data.eval_tokens_per_batch"
    )
    assert wanted in error
    if training:
        assert "8 × (2, 32, 32)" in error  # weights of one sequence: H × N × N


@pytest.mark.slow
def test_a_second_process_learns_who_the_first_is(command: Launch, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with locked(folder / lock.LOCK, wait=False):
        status, errors = command(*SMALL, f"hydra.run.dir={folder}")
    assert status == 2
    assert f"(process {os.getpid()} on {platform.node()}, since " in errors
    (folder / lock.LOCK).write_text("")  # of one that was killed
    (folder / lock.HOLDER).write_text("process 999999999 on")
    assert command(*SMALL, f"hydra.run.dir={folder}")[0] == 0
    assert not {lock.LOCK, lock.HOLDER} & {path.name for path in folder.iterdir()}


def test_without_locks_of_the_system_the_file_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "FileLock", SoftFileLock)
    path = tmp_path / lock.LOCK
    with locked(path, wait=False), pytest.raises(ConfigError, match=rf"process {os.getpid()} .*run\.dir=FOLDER"):
        locked(path, wait=False).__enter__()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    path.write_text(f"{dead.pid}\n{platform.node()}\n")
    (tmp_path / lock.HOLDER).write_text(f"process {dead.pid} on another, since then: train.py")
    with locked(path, wait=True):
        assert path.read_text().startswith(f"{os.getpid()}\n")
    path.write_text(f"{dead.pid}\nanother\n")
    with pytest.raises(ConfigError, match=rf"If that process is gone, remove {path}\."):
        locked(path, wait=False).__enter__()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_the_second_is_the_systems(signum: signal.Signals) -> None:
    stop, before = GracefulStop(), signal.getsignal(signum)
    assert threading.current_thread() is threading.main_thread()
    with stop.listening():
        work = stop.deferred()
        work.__enter__()
        os.kill(os.getpid(), signum)
        time.sleep(0.01)
        assert stop.received == signum
        assert signal.getsignal(signum) == signal.SIG_DFL
        with pytest.raises(Interrupted, match=f"stopped by {signum.name}"):
            work.__exit__(None, None, None)
        assert not stop.stopping  # that is decided between two steps
    assert signal.getsignal(signum) == before


@pytest.mark.slow
def test_slurm_queues_a_job_again_and_it_goes_on(
    command: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pretended scontrol notes what it is asked; the folder is named after the job, so the job finds it again."""
    (tmp_path / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path / "asked"}\n')
    (tmp_path / "scontrol").chmod(0o755)
    around = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "77"}
    small = [word for word in SMALL if not word.startswith("~")]
    line = (*small, "trainer.max_steps=120", "callbacks=quiet")
    running = Forked([TRAIN, *line], tmp_path / "log", folder=tmp_path, around=around)
    while not [*tmp_path.glob("runs/*/checkpoints/last.ckpt")]:
        assert running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGUSR1)
    assert running.wait(60) == 128 + signal.SIGUSR1
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("slurm-77-")
    assert result(folder)["status"] == "interrupted"
    assert "the job 77 is queued again" in result(folder)["error"]
    assert (tmp_path / "asked").read_text() == "requeue 77\n"
    reached = result(folder)["steps"]
    assert read(folder / "checkpoints" / "last.ckpt")["global_step"] == reached
    monkeypatch.chdir(tmp_path)
    for name, value in around.items():
        monkeypatch.setenv(name, value)
    assert command(*line) == (0, "")
    assert [each.name for each in (tmp_path / "runs").iterdir()] == [folder.name]
    assert result(folder)["status"] == "completed"
    assert result(folder)["steps"] == 120 > reached
