"""Several processes that train one model are one process, up to rounding, whatever has started them."""

import multiprocessing
import os
import signal
import socket
import time
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import torch
from torch.distributed.launcher.api import LaunchConfig

from posenc.checks import ConfigError
from posenc.jobs import workers as starts
from posenc.runs.lock import HOLDER
from posenc.runs.processes import Place, place
from posenc.training.data import Shares
from posenc.training.evaluation.sets import share
from tests.commands import TRAIN, Forked, server
from tests.conftest import Launch
from tests.reliability.rank_kills import alive, holder, workers
from tests.test_sweeps import rows
from tests.test_training import SMALL, at_first, result, weights

LINE = (*SMALL, "encoding=rope", "trainer.log_every=1", "threads=1", "trainer.precision=32-true", "data.eval_size=65")
LIMIT = 60
"""Seconds that processes have to end after another one was killed."""


def test_shares_make_the_batch() -> None:
    batch = torch.arange(21).reshape(7, 3), torch.arange(7)
    parts = [share(batch, rank, 3) for rank in range(3)]
    assert sorted(torch.cat([targets for _, targets in parts]).tolist()) == list(range(7))
    assert all(torch.equal(tokens[:, 0], targets * 3) for tokens, targets in parts)
    assert [len(targets) for _, (_, targets) in zip(range(2), Shares([batch, batch], 0, 2), strict=True)] == [4, 4]
    with pytest.raises(ConfigError, match="7 sequences cannot be divided among 8 processes"):
        share(batch, 0, 8)


def test_a_launcher_says_who_is_who(command: Launch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A batch script of SLURM is no step of srun's; what the launcher and the config say must agree."""
    assert place() is None
    batch = {"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_NNODES": "2"}
    for name, value in batch.items():
        monkeypatch.setenv(name, value)
    assert place() is None
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    assert place() == Place(0, 4, 2, "srun")
    for name, value in {"TORCHELASTIC_RUN_ID": "a", "RANK": "0", "WORLD_SIZE": "1", "GROUP_WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    assert place() == Place(0, 1, 1, "torchrun")
    status, said = command("trainer=ddp", "trainer.devices=2", f"hydra.run.dir={tmp_path / 'run'}")
    assert status == 2
    assert said == "error: trainer: torchrun has started 1 process and devices is 2; set trainer.devices=1.\n"
    assert not (tmp_path / "run").exists()
    monkeypatch.setenv("WORLD_SIZE", "2")
    status, said = command("-m", "seed=0,1", f"hydra.sweep.dir={tmp_path / 'sweep'}")
    assert status == 2
    assert said.startswith("error: a sweep itself starts the processes of each run")


def same(one: Path, two: Path) -> None:
    """Assert that two runs have the same losses and weights up to rounding, and that the second had two processes."""
    a, b = result(one), result(two)
    assert a["config_hash"] == b["config_hash"]
    assert (a["processes"], b["processes"]) == (1, 2)
    for before, after in zip(rows(one), rows(two), strict=True):
        assert before.keys() == after.keys()
        for key, value in before.items():
            assert (value == after[key] == "") or float(value) == pytest.approx(float(after[key]), abs=1e-4), key
    assert a["test"].keys() == b["test"].keys()
    for x, y in zip(weights(one).values(), weights(two).values(), strict=True):
        assert torch.allclose(x, y, atol=1e-5)


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes of a run are forked from one that has imported Lightning; by default each imports it anew."""
    server()
    asked = starts._config

    def config(devices: int, logs: str) -> LaunchConfig:
        found = asked(devices, logs)
        found.start_method = "forkserver"
        return found

    monkeypatch.setattr(starts, "_config", config)


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
def test_two_processes_in_a_sweep_are_as_one(command: Launch, tmp_path: Path) -> None:
    """Same losses and scores, also where sequences ask differently often; one folder a run and one result."""
    more = (*LINE, "-m", "dataset=pattern,flip_flop", "model.causal=true")  # halves of a batch round differently
    one, two = tmp_path / "one", tmp_path / "two"
    assert command(*more, f"hydra.sweep.dir={one}") == (0, "")
    assert command(*more, "trainer=ddp", "trainer.accelerator=cpu", f"hydra.sweep.dir={two}") == (0, "")
    folders = {path.parent.relative_to(two) for path in two.rglob("result.json")}
    assert len(folders) == 2
    assert folders == {path.parent.relative_to(one) for path in one.rglob("result.json")}
    for name in folders:
        same(one / name, two / name)
    assert len([*two.rglob("metrics.csv")]) == len([*two.rglob("config.yaml")]) == 2


def wait_for(path: Path, *processes: Forked) -> None:
    """Wait until there is such a file."""
    while not path.exists():
        assert all(each.poll() is None for each in processes)
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
def test_a_killed_worker_and_ctrl_c(command: Launch, tmp_path: Path) -> None:
    """`trainer=ddp` alone: the command says which process died; given again it goes on, and a signal stops it.

    The first command runs in this process; the second has a process of its own, and its ranks import everything anew.
    """
    words = [*LINE, "callbacks=quiet", "trainer=ddp", "trainer.accelerator=cpu"]
    words = [word for word in words if not word.startswith("~callbacks.")]
    words += ["trainer.max_steps=100000", f"hydra.run.dir={tmp_path / 'run'}"]
    log, last = tmp_path / "log", tmp_path / "run" / "checkpoints" / "last.ckpt"

    def kill() -> None:
        (one,) = {child.pid for child in multiprocessing.active_children()} - {holder(tmp_path / "run")}
        assert one is not None
        os.kill(one, signal.SIGKILL)

    printed = StringIO()
    with at_first(last, kill), redirect_stdout(printed):
        status, said = command(*words)
    assert status == 1
    assert "process rank1 ended by SIGKILL; the same command continues" in " ".join(printed.getvalue().split())
    assert "Traceback" not in said + printed.getvalue()
    assert result(tmp_path / "run")["status"] == "failed"
    assert not (tmp_path / "run" / HOLDER).exists()
    last.unlink()  # the one before it is there
    again = Forked([TRAIN, *words], log)
    wait_for(last, again)
    own = workers(again.pid)
    again.send_signal(signal.SIGINT)
    assert again.wait(LIMIT) == 128 + signal.SIGINT
    assert not any(alive(each) for each in own)
    assert result(tmp_path / "run")["status"] == "interrupted"
    assert "stopped by SIGINT" in log.read_text()
    assert f"continue    python {TRAIN}" in log.read_text()


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.mark.slow
def test_two_nodes_are_as_one_process_and_one_is_killed(command: Launch, tmp_path: Path) -> None:
    """Two nodes of torchrun, of which one process is killed: the other ends with a message; given again they go on.

    Its option --run-path lets it fork the processes of the run, too.
    """
    more = (*LINE, "callbacks=quiet", "trainer.max_steps=60")
    more = [word for word in more if not word.startswith("~callbacks.")]
    one, two = tmp_path / "one", tmp_path / "two"
    assert command(*more, f"hydra.run.dir={one}")[0] == 0

    def nodes(name: str) -> list[Forked]:
        port, train = free_port(), [TRAIN, *more, "trainer=ddp", "trainer.accelerator=cpu"]
        line = ["-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", "--master-addr", "127.0.0.1"]
        line += ["--run-path", "--start-method", "fork"]
        return [
            Forked(
                [*line, "--master-port", str(port), "--node-rank", str(rank), *train, f"hydra.run.dir={two}"],
                tmp_path / f"{name}{rank}",
            )
            for rank in range(2)
        ]

    first = nodes("first")
    wait_for(two / "checkpoints" / "previous.ckpt", *first)
    os.kill(holder(two), signal.SIGKILL)
    assert [each.wait(LIMIT) for each in first] == [1, 1]
    said = (tmp_path / "first1").read_text()
    assert "process rank1 ends, because another one has ended" in said
    assert "the same command continues from the last checkpoint" in said
    assert not (two / "result.json").exists()
    assert [each.wait() for each in nodes("again")] == [0, 0], (tmp_path / "again0").read_text()
    same(one, two)
    assert "test accuracy" in (tmp_path / "again0").read_text()
    assert "test accuracy" not in (tmp_path / "again1").read_text()


@pytest.mark.slow
def test_two_tasks_of_srun_stop_together(tmp_path: Path) -> None:
    """With the variables that srun sets: a signal to one task stops both after a step, and rank 0 writes the result."""
    words = [TRAIN, *LINE, "trainer=ddp", "trainer.accelerator=cpu", "trainer.max_steps=100000"]
    around = {
        "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1",
        "SLURM_NODEID": "0", "SLURM_JOB_ID": "77", "SLURM_NODELIST": "127.0.0.1", "MASTER_PORT": str(free_port()),
    }  # fmt: skip
    run = f"hydra.run.dir={tmp_path / 'run'}"
    tasks = [
        Forked([*words, run], tmp_path / f"log{k}", around=around | {"SLURM_PROCID": str(k), "SLURM_LOCALID": str(k)})
        for k in range(2)
    ]
    wait_for(tmp_path / "run" / "checkpoints" / "last.ckpt", *tasks)
    tasks[1].send_signal(signal.SIGTERM)
    assert [each.wait(LIMIT) for each in tasks] == [128 + signal.SIGTERM] * 2, (tmp_path / "log0").read_text()
    assert result(tmp_path / "run")["status"] == "interrupted"
    assert result(tmp_path / "run")["processes"] == 2
    assert not (tmp_path / "log1").read_text()
