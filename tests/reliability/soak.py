"""`python -m tests.reliability.soak --steps 20000`: memory, step time and open files of a long run.

Evaluation, checkpoints, rows of the log and every callback are on. Measured every 50 steps: resident memory, open
files, and the processor time of a step, of training alone (validations and checkpoints are not in that time), divided
by that of a fixed computation beside it: a shared machine is slower at one time than at another, a step must not be.
Compared are the third and the last quarter of the run: step time by the median, memory by the maximum.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from rich.progress import Progress

from posenc.config.build import build
from posenc.jobs.run import train
from posenc.training.loggers.metrics_file import open_logs
from tests.conftest import CONFIGS

EVERY = 50
SMALL = (
    "model.dim=32", "model.num_heads=2", "data.batch_size=16", "data.eval_size=256", "trainer.validate_every=200",
    "trainer.checkpoint_every=100", "trainer.log_every=50", "~callbacks.progress", "hydra.runtime.output_dir=OUT",
)  # fmt: skip


class Watch(L.Callback):
    """Looks at its own process."""

    def __init__(self, steps: int) -> None:
        self.rows: list[tuple[float, float, float, int]] = []
        self._times: list[float] = []
        self._beside: list[float] = []
        self._fixed = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.GELU(), torch.nn.Linear(256, 64))
        self._input = torch.ones(512, 64)
        self._began = 0.0
        self._progress = Progress()
        self._bar = self._progress.add_task("soak", total=steps)
        self._progress.start()

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Start the watch."""
        self._began = time.process_time()

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Stop it; time the fixed computation; look."""
        stopped = time.process_time()
        self._times.append(stopped - self._began)
        if trainer.global_step % 5 == 0:
            self._fixed(self._input).sum().backward()
            self._beside.append(time.process_time() - stopped)
        if trainer.global_step % EVERY == 0:
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
            files = len([*Path("/proc/self/fd").iterdir()])
            self.rows.append((float(np.median(self._times)), float(np.median(self._beside)), resident, files))
            self._times.clear()
            self._beside.clear()
            self._progress.update(self._bar, completed=trainer.global_step)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Give the terminal back."""
        self._progress.stop()


def soak(steps: int) -> tuple[float, float, int]:
    """Growth of memory in the second half, of step time from the third quarter to the last; files opened and kept."""
    torch.set_num_threads(1)
    GlobalHydra.instance().clear()
    with tempfile.TemporaryDirectory() as out, initialize_config_dir(str(CONFIGS), version_base="1.3"):
        small = [word.replace("OUT", out) for word in SMALL]
        config = compose("train", overrides=[*small, f"trainer.max_steps={steps}"], return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        parts = build(config, Path(out))
        watch = Watch(steps)
        parts.trainer.callbacks.insert(0, watch)  # pyright: ignore[reportAttributeAccessIssue]
        open_logs(parts.trainer.loggers, {}, 0)
        train(parts, None)
    times, beside, resident, files = (np.array(column) for column in zip(*watch.rows, strict=True))
    half, last = slice(len(times) // 2, 3 * len(times) // 4), slice(3 * len(times) // 4, None)
    steady = times / beside
    slower = np.median(steady[last]) / np.median(steady[half]) - 1
    plainly = np.median(times[last]) / np.median(times[half]) - 1
    grown = resident[last].max() / resident[len(resident) // 2] - 1
    opened = int(files[len(files) // 2 :].max() - files[len(files) // 2])
    eighths = " ".join(f"{np.median(part):.2f}" for part in np.array_split(steady, 8))
    print(
        f"{steps} steps: resident memory {resident[0]:.1f} MiB at the first look, "
        f"{resident[len(resident) // 2]:.1f} half-way, {resident[-1]:.1f} at the end: {grown:+.2%} in the second half; "
        f"step time {1e3 * np.median(times[half]):.2f} ms in the third quarter, {slower:+.2%} in the last beside a "
        f"fixed computation, {plainly:+.2%} by the clock; open files {opened:+d}; step time by eighths of the run, in "
        f"fixed computations: {eighths}"
    )
    return grown, slower, opened


def main(words: list[str] | None = None) -> int:
    """Run, compare the quarters; status 1 beyond 1 % of memory, 3 % of time, or any file."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.soak")
    parser.add_argument("--steps", type=int, default=20_000)
    grown, slower, opened = soak(parser.parse_args(words).steps)
    return int(grown > 0.01 or slower > 0.03 or opened > 0)


if __name__ == "__main__":
    sys.exit(main())
