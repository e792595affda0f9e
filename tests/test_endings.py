"""Whatever ends a training or averages its weights: last.ckpt holds what is tested, and goes on as it was."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping

from posenc.config.build import build
from posenc.training.checkpoint_file import read
from tests.conftest import Launch
from tests.test_identity import AVERAGE, S
from tests.test_training import result, weights


class StopAfter(L.Callback):
    """Ends the training after a step in which nothing else is due, as a limit of time may."""

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        trainer.should_stop = trainer.global_step == 3


class StopBefore(L.Callback):
    """Ends it at the beginning of a step, too late for a checkpoint after it."""

    def on_before_optimizer_step(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == 2:
            trainer.should_stop = True


class Swap(L.Callback):
    """Puts other weights into the model when the training has ended, as an average of weights does."""

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        with torch.no_grad():
            for weight in pl_module.parameters():
                weight.mul_(0.5)


@pytest.mark.parametrize(
    ("ends", "step"),
    [
        (lambda: EarlyStopping("validation/loss", patience=0, min_delta=1e9), 4),
        (StopAfter, 3), (StopBefore, 3), (Swap, 9),
    ],
)  # fmt: skip
def test_a_training_that_ends_leaves_a_checkpoint_of_its_last_weights(
    composed: Callable[..., Any], tmp_path: Path, ends: Callable[[], L.Callback], step: int
) -> None:
    words = [word for word in S if "callbacks" not in word and "logger" not in word]
    many = (
        "trainer.max_steps=9",
        "trainer.checkpoint_every=100",
        "~callbacks",
        "+callbacks={}",
        "~logger",
        "+logger={}",
    )
    parts = build(composed(*words, *many), tmp_path)
    parts.trainer.callbacks.insert(0, ends())  # pyright: ignore[reportAttributeAccessIssue]
    parts.trainer.fit(parts.module, datamodule=parts.data)
    assert parts.trainer.global_step == step
    saved = read(tmp_path / "checkpoints" / "last.ckpt")
    assert saved["global_step"] == step
    assert all(torch.equal(saved["state_dict"][name], tensor) for name, tensor in parts.module.state_dict().items())


@pytest.mark.slow
def test_averaged_weights_are_gone_on_with(command: Launch, tmp_path: Path) -> None:
    """Bit-equal to the run that was never stopped; the checkpoint holds the weights that were tested."""
    line = (*S, *AVERAGE, "trainer.checkpoint_every=3", "trainer.max_steps=5", f"hydra.run.dir={tmp_path}")
    assert command(*line) == (0, "")
    whole, tested = weights(tmp_path), result(tmp_path)["test"]
    for name in ("result.json", "checkpoints/last.ckpt"):  # as if it had been killed after step 3
        (tmp_path / name).unlink()
    assert read(tmp_path / "checkpoints" / "previous.ckpt")["global_step"] == 3
    assert command(*line) == (0, "")
    assert result(tmp_path)["test"] == tested
    assert all(torch.equal(whole[name], tensor) for name, tensor in weights(tmp_path).items())


def test_what_could_not_be_gone_on_with_is_refused(command: Launch, tmp_path: Path) -> None:
    more = (
        "+callbacks.a._target_=lightning.pytorch.callbacks.GradientAccumulationScheduler",
        "+callbacks.a.scheduling={0:4}",
    )
    status, errors = command(*S, *more, f"hydra.run.dir={tmp_path / 'r'}")
    assert status == 2
    assert "raise data.batch_size instead" in errors
    assert not (tmp_path / "r").exists()
