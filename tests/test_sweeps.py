"""Sweeps given again, stopped, forced and spread over processes; what a run finds in its folder."""

import csv
import json
import re
import shlex
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from posenc.config.explain import explain
from posenc.jobs.launch import overrides_first, sweep_name
from posenc.jobs.plan import finished_before
from posenc.jobs.summary import print_tensorboard
from posenc.runs.files import EVENTS
from posenc.runs.folder import open_run
from posenc.runs.sweep_journal import time_left
from tests.commands import TRAIN, Forked
from tests.conftest import CONFIGS, Launch
from tests.test_training import SMALL, process, result, weights


def stamps(folder: Path) -> dict[Path, int]:
    """When each result below was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("result.json")}


def equal(a: Path, b: Path) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a).values(), weights(b).values(), strict=True))


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))


@pytest.mark.slow
def test_a_sweep_given_again_trains_only_what_is_new(
    command: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("-m", "encoding=none,rope", "seed=range(2)", *SMALL) == (0, "")
    (folder,) = (tmp_path / "runs").iterdir()
    before = stamps(folder)
    assert len(before) == 4
    assert command("-m", "encoding=rope,none", "seed=range(2)", *SMALL, "threads=1", "trainer.log_every=3")[0] == 0
    assert stamps(folder) == before
    assert command("-m", "encoding=none", "seed=range(3)", *SMALL)[0] == 0
    after = stamps(folder)
    assert len(after) == 5
    assert {path: after[path] for path in before} == before
    told = [json.loads(path.read_text()) for path in sorted((folder / ".sweeps").glob("*.json"))]
    assert [[job["skipped"] for job in each["jobs"]] for each in told] == [
        [False] * 4, [True] * 4, [True, True, False],
    ]  # fmt: skip


@pytest.mark.slow
def test_kill_in_the_middle_of_a_sweep(command: Launch, tmp_path: Path) -> None:
    """SIGKILL during the second run: the first is kept, the second goes on as if nothing had happened."""
    more = ["-m", "encoding=rope", "seed=0,1", *(word for word in SMALL if not word.startswith("~"))]
    more += ["trainer.max_steps=80", "trainer.validate_every=40"]
    more += ["model.dropout=0.1", "trainer.log_every=1", "callbacks=quiet"]
    second = tmp_path / "killed" / "pattern" / "rope" / "seed1"
    killed = f"hydra.sweep.dir={tmp_path / 'killed'}"
    running = Forked([TRAIN, *more, killed], tmp_path / "log")
    deadline = time.monotonic() + 120
    while not (second / "checkpoints" / "last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not (second / "result.json").exists()
    reached = torch.load(second / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert 5 <= reached < 80
    before = stamps(tmp_path / "killed")
    assert len(before) == 1
    assert command(*more, killed) == (0, "")
    after = stamps(tmp_path / "killed")
    assert len(after) == 2
    assert {path: after[path] for path in before} == before
    assert command(*more, "seed=1", f"hydra.sweep.dir={tmp_path / 'whole'}") == (0, "")
    whole = tmp_path / "whole" / "pattern" / "rope" / "seed1"
    assert equal(whole, second)
    assert result(whole)["test"] == result(second)["test"]
    assert result(whole)["validation"] == result(second)["validation"]
    assert rows(whole) == rows(second)
    assert {path.name for path in second.iterdir()} >= {"result.json", "metrics.csv", "checkpoints"}
    assert not (second / ".lock").exists()


@pytest.mark.slow
def test_force_keeps_the_old_result_until_the_new_one_is_complete(command: Launch, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    line = (*SMALL, f"hydra.run.dir={folder}")
    assert command(*line)[0] == 0
    before = result(folder)
    assert command(*line)[0] == 0  # finished: shown, not trained
    assert result(folder) == before
    assert command(*line, "force=true", "dataset.length=20")[0] == 1  # a mistake, in a folder that is not empty
    assert result(folder)["status"] == "failed"
    assert json.loads((folder / ".before" / "replaced.json").read_text()) == before
    assert command(*line, "force=true")[0] == 0
    assert result(folder)["test"] == before["test"]
    assert result(folder) != before
    assert not (folder / ".before").exists()


@pytest.mark.slow
def test_a_damaged_checkpoint_means_from_the_start(command: Launch, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert command(*SMALL, f"hydra.run.dir={folder}")[0] == 0
    before = result(folder)
    (folder / "result.json").unlink()
    (folder / "checkpoints" / "last.ckpt").write_bytes(b"half")
    assert command(*SMALL, f"hydra.run.dir={folder}") == (0, "")
    assert result(folder)["test"] == before["test"]


@pytest.mark.slow
def test_another_config_in_the_folder_is_a_row_and_left_alone(command: Launch, tmp_path: Path) -> None:
    line = ("-m", "seed=0,1", *SMALL, f"hydra.sweep.dir={tmp_path}")
    assert command(*line)[0] == 0
    before = stamps(tmp_path)
    status, _ = command(*line, "model.dim=32")
    assert status == 1
    assert stamps(tmp_path) == before


def test_a_folder_in_which_another_process_is_at_work_is_refused(command: Launch, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with open_run(folder, "0" * 16, force=False, wait=False):
        status, errors = command(*SMALL, f"hydra.run.dir={folder}")
    assert status == 2
    assert "another process is at work" in errors
    assert "type the same command again when that process has ended, or give train.py another folder with" in errors


@pytest.mark.slow
def test_joblib_is_bit_equal_to_one_process_and_survives_a_failure(command: Launch, tmp_path: Path) -> None:
    swept = ("-m", "encoding=alibi_causal,none,rope", *SMALL)
    parallel = ("launcher=joblib", "hydra.launcher.n_jobs=2", f"hydra.sweep.dir={tmp_path / 'joblib'}")
    done = process(*swept, *parallel)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "[3/3]" in done.stdout
    assert command(*swept, "threads=1", f"hydra.sweep.dir={tmp_path / 'basic'}")[0] == 1
    for name, status in (("alibi_causal", "failed"), ("none", "completed"), ("rope", "completed")):
        a, b = (tmp_path / launcher / "pattern" / name / "seed0" for launcher in ("joblib", "basic"))
        assert result(a)["status"] == result(b)["status"] == status
        assert result(a)["versions"] == result(b)["versions"]
        assert result(a)["versions"]["threads"] == 1
        if status == "completed":
            assert equal(a, b)
            assert result(a)["test"] == result(b)["test"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Optuna 2 imports SQLAlchemy 2 with deprecations
def test_a_search_minimises_the_validation_loss(command: Launch, tmp_path: Path) -> None:
    more = [word for word in SMALL if not word.startswith("~")]
    line = ("experiment=search_rope_base", "hydra.sweeper.n_trials=2", *more, f"hydra.sweep.dir={tmp_path}")
    assert command(*line)[0] == 0
    found = {path.parent: result(path.parent) for path in tmp_path.rglob("result.json")}
    losses = [min(float(row["validation/loss"]) for row in rows(folder) if row["validation/loss"]) for folder in found]
    assert [each["validation"]["best_loss"] for each in found.values()] == pytest.approx(losses, rel=1e-6)
    best = OmegaConf.load(tmp_path / "optimization_results.yaml")
    assert best.best_value == pytest.approx(min(losses), rel=1e-6)
    before = stamps(tmp_path)
    assert command(*line)[0] == 0  # the same trials again: none is trained
    assert stamps(tmp_path) == before
    assert len(before) == 2


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["encoding=none,rope", "seed=range(3)", "dataset=pattern"], "sweep"),
        (["trainer.max_steps=300", "launcher=joblib", "hydra.launcher.n_jobs=2"], "sweep_trainer.max_steps=300"),
        (["optimizer.lr=0.1,0.2", "experiment=quick_demo"], "quick_demo_optimizer.lr"),
        (["name=mine", "seed=0,1"], "mine"),
        (["~callbacks.progress", "~model.window"], "sweep_~model.window"),
        (["dataset.path='/a b'"], r"sweep_dataset.path=-a-b-_.{8}"),
    ],
)
def test_the_folder_of_a_sweep_depends_on_what_its_runs_have_in_common(words: list[str], name: str) -> None:
    found = sweep_name(OverridesParser.create().parse_overrides(words))
    assert re.fullmatch(name, found), found


@given(st.permutations(["encoding=rope", "seed=0,1", "~model.window", "-m", ("--config-dir", "a=b"), ("--cfg", "job")]))
def test_options_may_stand_anywhere_among_overrides(groups: list[str | tuple[str, str]]) -> None:
    words = [word for group in groups for word in ([group] if isinstance(group, str) else group)]
    found = get_args_parser().parse_args(overrides_first(words))
    assert found.overrides == [word for word in groups if isinstance(word, str) and word != "-m"]
    assert (found.multirun, found.config_dir, found.cfg) == (True, "a=b", "job")


@pytest.mark.parametrize("active", [True, False])
def test_the_printed_tensorboard_command_runs_in_this_shell(
    active: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the environment active by its name, else by this Python; a folder with a space is one word."""
    folder = tmp_path / "my runs"
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent) if active else str(tmp_path))
    folder.mkdir()
    print_tensorboard(folder)
    assert not capsys.readouterr().out  # of runs without TensorBoard there is nothing to open
    (folder / f"{EVENTS}1700000000.host.1.0").touch()
    print_tensorboard(folder)
    printed = capsys.readouterr().out.splitlines()[-1].partition(" ")[2]
    words = shlex.split(printed)
    assert words[-2:] == ["--logdir", str(folder)]
    assert words[:-2] == (["tensorboard"] if active else [sys.executable, "-m", "tensorboard.main"])


def test_time_left() -> None:
    """The first run also waited 60 s for imports; three more take 10 s each."""
    jobs = {
        0: {"state": "completed", "skipped": True, "began": 0.0, "ended": 1.0},
        1: {"state": "completed", "skipped": False, "began": 30.0, "ended": 100.0, "result": {"wall_seconds": 10.0}},
        2: {"state": "failed", "skipped": False, "began": 100.0, "ended": 110.0},
        3: {"state": "completed", "skipped": False, "began": 110.0, "ended": 120.0},
        4: {"state": "running", "skipped": False, "began": 120.0},
    }
    assert time_left({"total": 7}, jobs) == 3 * 10.0
    assert time_left({"total": None}, jobs) is None
    assert time_left({"total": 7}, {0: jobs[0]}) is None
    assert time_left({"total": 7}, {1: jobs[1]}) == 6 * 10.0
    assert time_left({"total": 7}, {1: jobs[1], 3: jobs[4], 4: jobs[4]}) == 6 * 10.0 / 2  # two work at once
    assert time_left({"total": 7, "finished": 3}, jobs) == 1 * 10.0  # one was skipped, two will be
    assert time_left({"total": 7, "finished": 9}, jobs) == 0
    pair = {**jobs, 5: {**jobs[3], "began": 110.5, "ended": 120.5}, 6: {**jobs[4], "began": 120.5}}
    assert time_left({"total": 20}, pair) == 8 * 10.0  # two ended half a second apart; 15 are left, two at once
    back = {0: jobs[3] | {"ended": 90.0}}  # the clock was set back
    assert time_left({"total": 2}, back) == -20.0
    assert time_left({"total": 6}, pair) == 10.0  # the last one has nobody to share with


def test_finished_jobs_are_known_before_they_are_met(tmp_path: Path) -> None:
    """Two seeds of rope and one of two depths of none are done; a failed one and one of another sweep are not."""
    config = OmegaConf.create(
        {
            "seed": 0,
            "force": False,
            "hydra": {
                "sweep": {"dir": "."},
                "runtime": {"cwd": str(tmp_path), "choices": {"dataset": "copy", "encoding": "t5"}},
            },
        }
    )
    ends = {"rope/seed0": "completed", "rope/seed1": "diverged", "none/seed0/model.num_layers=1": "completed"}
    ends |= {"none/seed1/model.num_layers=1": "failed", "fire/seed0": "completed"}
    for name, status in ends.items():
        folder = tmp_path / "copy" / name
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps({"status": status}))
    jobs = [["encoding=rope", f"seed={seed}"] for seed in range(3)]
    jobs += [["encoding=none", f"seed={seed}", f"model.num_layers={n}"] for seed in (0, 1) for n in (1, 2)]
    assert finished_before(config, jobs) == 3
    assert finished_before(config, [["model.dim=32"]]) == 0
    config.force = True
    assert finished_before(config, jobs) == 0


def test_a_missing_tracker_is_named(command: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackio", None)
    status, errors = command("logger=trackio", *SMALL, f"hydra.run.dir={tmp_path / 'run'}")
    assert status == 2
    assert "pip install -c constraints.txt -e '.[trackio]'" in errors
    assert not (tmp_path / "run").exists()


def test_a_missing_extra_is_named() -> None:
    error = RuntimeError("In 'launcher/ray': Could not find 'hydra/launcher/ray'\n\nAvailable options ...")
    assert "pip install -c constraints.txt -e '.[ray]'" in explain(error, CONFIGS)
