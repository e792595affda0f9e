"""A run that knows when it is done: the schedule, the criteria, the last phase, and going on in the middle of it."""

import csv
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch.trainer.states import TrainerFn

from posenc.training.module import SequenceModule
from posenc.training.stopping.criterion import Solved
from posenc.training.stopping.milestones import Milestones
from posenc.training.stopping.schedule import warmup_decay
from tests.conftest import Launch
from tests.test_training import result, weights

SMALL = (
    "dataset=first_of", "dataset.length=8", "dataset.test_lengths=[8]", "model.dim=16", "model.num_heads=2",
    "model.num_layers=1", "model.dropout=0.1", "data.eval_size=64", "data.batch_size=16", "threads=1",
    "callbacks=quiet", "~logger.tensorboard", "module.warmup_steps=3", "trainer.log_every=2",
    "trainer.checkpoint_every=4", "trainer.max_steps=60", "trainer.validate_every=6",
)  # fmt: skip
SOON = ("stop=plateau", "stop.patience=1", "stop.min_delta=100", "stop.decay_steps=10")
"""No loss falls by 100: done at the second validation, step 12, and over at step 22."""


def rates(folder: Path) -> dict[int, float]:
    """The learning rate of each step that has a row."""
    rows = csv.DictReader((folder / "metrics.csv").read_text().splitlines())
    return {int(row["step"]): float(row["train/learning_rate"]) for row in rows if row["train/learning_rate"]}


def state(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def outcome(folder: Path) -> dict[str, Any]:
    return {key: result(folder)[key] for key in ("status", "steps", "test", "stopped", "censored", "skill_steps")}


@given(st.integers(0, 50), st.integers(0, 200), st.integers(1, 60))
def test_the_schedule_rises_stays_and_falls_to_zero(warmup: int, begin: int, length: int) -> None:
    shares = [warmup_decay(step, warmup, begin, length) for step in range(begin + length + 2)]
    for step, share in enumerate(shares):
        rising = min(1, (step + 1) / warmup) if warmup else 1
        falling = 1 if step <= begin else max(0, (begin + length - step) / length)
        assert share == pytest.approx(rising * falling)
        if step <= begin:  # nothing before the decay depends on when it begins
            assert share == warmup_decay(step, warmup, begin + 1000, length)
    assert shares[begin + length] == shares[begin + length + 1] == 0 < shares[begin + length - 1]


def trainer(step: int, skill: float) -> Any:
    """As much of a trainer as a criterion sees after a validation."""
    return SimpleNamespace(
        state=SimpleNamespace(fn=TrainerFn.FITTING), sanity_checking=False, fast_dev_run=False, current_epoch=0,
        strategy=SimpleNamespace(reduce_boolean_decision=lambda decision, all: decision), should_stop=False,
        global_step=step, callback_metrics={"validation/skill": torch.tensor(skill)},
        fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(max_steps=10**6)),
    )  # fmt: skip


@given(st.lists(st.sampled_from([0.5, 0.9, 0.98, 0.99, 1.0, float("nan")]), max_size=12), st.integers(1, 3))
def test_solved_is_so_many_validations_in_a_row_and_levels_are_passed_once(skills: list[float], times: int) -> None:
    criterion, milestones, module = Solved(times=times, decay_steps=7), Milestones(), SimpleNamespace()
    held = [
        all(skill >= 0.99 for skill in skills[i - times + 1 : i + 1]) and i + 1 >= times for i in range(len(skills))
    ]
    first = held.index(True) + 1 if True in held else None
    for step, skill in enumerate(skills, 1):
        now = trainer(step, skill)
        for callback in (criterion, milestones):
            callback.on_validation_end(now, module)  # pyright: ignore[reportArgumentType]
        assert not now.should_stop
        assert now.fit_loop.epoch_loop.max_steps == (step + 7 if step == first else 10**6)
    assert criterion.stopped == first
    passed = {
        name: next((i for i, skill in enumerate(skills, 1) if skill >= float(name)), None)
        for name in (".5", ".9", ".99")
    }
    assert milestones.steps == (passed if skills else None)
    milestones.on_load_checkpoint(None, None, {"callbacks": {}})  # pyright: ignore[reportArgumentType]
    assert milestones.steps is None


@pytest.mark.slow
def test_a_solved_run_decays_and_ends_before_its_budget(command: Launch, tmp_path: Path) -> None:
    easy = ("stop=solved", "stop.skill=1e-3", "stop.decay_steps=10", "trainer.max_steps=600", "model.dropout=0")
    assert command(*SMALL, *easy, f"hydra.run.dir={tmp_path}") == (0, "")
    found = outcome(tmp_path)
    stopped = found["stopped"]
    assert (found["status"], found["steps"], found["censored"]) == ("completed", stopped + 10, False)
    assert stopped <= 590
    for row, rate in rates(tmp_path).items():
        if row >= 3:
            assert rate == pytest.approx(0.003 * min(1, (stopped + 10 - row) / 10))
    last = state(tmp_path)
    assert last["optimizer_states"][0]["param_groups"][0]["lr"] == 0
    assert last["global_step"] == stopped + 10


@pytest.mark.slow
def test_a_run_that_is_not_done_decays_at_the_end_of_its_budget(command: Launch, tmp_path: Path) -> None:
    never = ("stop=solved", "stop.skill=1", "stop.decay_steps=10", "trainer.max_steps=25")
    assert command(*SMALL, *never, f"hydra.run.dir={tmp_path}") == (0, "")
    found = outcome(tmp_path)
    assert (found["steps"], found["stopped"], found["censored"]) == (25, None, True)
    assert found["skill_steps"].keys() == {".5", ".9", ".99"}
    assert all(
        rate == pytest.approx(0.003 * min(1, (25 - step) / 10)) for step, rate in rates(tmp_path).items() if step > 2
    )
    assert state(tmp_path)["optimizer_states"][0]["param_groups"][0]["lr"] == 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing interrupts: the same command finds it finished but the first time."""
    return tmp_path_factory.mktemp("stopping") / "whole"


@pytest.mark.slow
@pytest.mark.parametrize("at", [9, 11, 12, 15, 17, 21, 22])
def test_interrupted_before_and_in_the_decay_it_goes_on_to_the_bit(
    command: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path, at: int
) -> None:
    """At 11 the validation of step 12 is still to come; at 22 the training is over and the test is interrupted."""
    assert command(*SMALL, *SOON, f"hydra.run.dir={whole}") == (0, "")
    name = "training_step" if at < 22 else "test_step"
    original = getattr(SequenceModule, name)

    def interrupted(self: SequenceModule, *batch: Any) -> Any:
        if self.global_step == at:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(SequenceModule, name, interrupted)
        assert command(*SMALL, *SOON, f"hydra.run.dir={tmp_path / 'rest'}")[0] == 130
    assert result(tmp_path / "rest")["steps"] == min(at + 1, 22)
    assert command(*SMALL, *SOON, f"hydra.run.dir={tmp_path / 'rest'}") == (0, "")
    rest = tmp_path / "rest"
    assert outcome(whole) == outcome(rest)
    assert (outcome(rest)["stopped"], outcome(rest)["steps"], outcome(rest)["censored"]) == (12, 22, False)
    assert (whole / "metrics.csv").read_text() == (rest / "metrics.csv").read_text()
    for file in ("last", "best"):
        assert all(torch.equal(tensor, weights(rest, file)[key]) for key, tensor in weights(whole, file).items())
    assert str(state(whole)["optimizer_states"]) == str(state(rest)["optimizer_states"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("stop=solved", "dataset=text", "encoding=rope"), "stop=solved needs a validation skill, but TextDataset"),
        (("stop=solved", "dataset=majority"), "write stop=plateau"),
        (("stop=solved", "trainer.max_steps=40", "stop.decay_steps=30"), "Solved needs 2 validations before the decay"),
        (("stop=plateau", "stop.patience=9", "stop.decay_steps=6"), "Plateau needs 10 validations before the decay"),
        (("stop=plateau", "stop.decay_steps=0"), "decay_steps must be a whole number ≥ 1"),
        (("stop=solved", "stop.skill=2"), "skill must be a number > 0 and ≤ 1"),
        (("stop=solved", "stop.patience=2"), "stop.patience does not exist"),
        (("stop=never",), "stop=never does not exist; the options are none, plateau, solved"),
        (
            ("stop.skill=.9",),
            "stop.skill does not exist: stop as it is chosen has no options; choose one of none, plateau",
        ),
        (("~stop",), "a run needs stop"),
    ],
)
def test_what_cannot_stop_is_refused_before_any_work(
    command: Launch, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    status, errors = command(*SMALL, *words, f"hydra.run.dir={tmp_path / 'no'}")
    assert status == 2
    assert said in errors
    assert len(errors.strip().splitlines()) == 1
    assert not (tmp_path / "no").exists()


@pytest.mark.slow
def test_a_run_with_another_end_is_another_run(command: Launch, tmp_path: Path) -> None:
    assert command(*SMALL, "trainer.max_steps=6", f"hydra.run.dir={tmp_path / 'r'}") == (0, "")
    record = result(tmp_path / "r")
    assert (record["stopped"], record["censored"]) == (None, None)
    checkpoint = f"ckpt_path={tmp_path / 'r' / 'checkpoints' / 'last.ckpt'}"
    status, errors = command(checkpoint, "trainer.max_steps=60", *SOON, f"hydra.run.dir={tmp_path / 's'}")
    assert status == 2
    assert "but stop._target_ is None there and 'Plateau' here" in errors
