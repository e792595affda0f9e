"""The section `loop`: Lightning's loop against a bare loop. Both train the default run, and take steps in turn."""

import tempfile
import time
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from torch.nn import functional as F

import posenc.jobs.run  # noqa: F401  silences Lightning's notices
from posenc.benchmark.sections import Section
from posenc.benchmark.timing import WARM_UP, Timing
from posenc.config import CONFIGS
from posenc.config.build import Parts, build


class Alternate(L.Callback):
    """Times each of Lightning's steps with data and callbacks, and after it a bare step of the run `other`."""

    def __init__(self, other: Parts) -> None:
        self.module, self.stream = other.module, iter(other.data.train_dataloader())
        self.optimizer = other.module.optimizer(other.module.parameters())
        self.theirs: list[float] = []
        self.bare: list[float] = []
        self._mark: float | None = None

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Take Lightning's time since the last bare step, then time another bare step."""
        began = time.perf_counter()
        if self._mark is not None:
            self.theirs.append(began - self._mark)
        self.step()
        self._mark = time.perf_counter()
        self.bare.append(self._mark - began)

    def step(self) -> None:
        """Draw a batch, forward, backward, clip, update."""
        tokens, targets = next(self.stream)
        self.optimizer.zero_grad()
        F.cross_entropy(self.module.encoder(tokens), targets).backward()
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self.optimizer.step()


def loop(rounds: int) -> Section:
    """The default run with the callbacks and loggers that act every 50 steps, without validation."""
    section = Section("loop", "a step of `python train.py` in Lightning's loop; ratio: to a bare loop")
    with tempfile.TemporaryDirectory() as folder:
        overrides = [
            f"trainer.max_steps={rounds}", "trainer.precision=32-true", "trainer.checkpoint_every=0",
            "trainer.accelerator=cpu", f"trainer.validate_every={rounds + 1}", "~callbacks.progress",
            "~callbacks.tensorboard", f"logger.csv.save_dir={folder}", f"logger.tensorboard.save_dir={folder}",
        ]  # fmt: skip
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            config = compose("train", overrides=overrides)
        first, second = (build(config, Path(folder)) for _ in range(2))
        alternate = Alternate(second)
        first.trainer.callbacks.append(alternate)  # pyright: ignore[reportAttributeAccessIssue]
        first.trainer.fit(first.module, datamodule=first.data, weights_only=True)
    bare = Timing(np.array(alternate.bare[WARM_UP:]))
    theirs = Timing(np.array(alternate.theirs[WARM_UP:]))
    size, length = first.data.batch_size, first.task.length[1]
    for name, timing in {"bare loop": bare, "Lightning": theirs}.items():
        section.rows.append({"batch": size, "length": length, "contestant": name} | timing.row(bare))
    return section
