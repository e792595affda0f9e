"""A watch that the section `answers` lays beside the runs of its sweeps."""

import time
from pathlib import Path

import lightning as L

from posenc.runs.writing import write_text
from posenc.training.trainer import Stopwatch


class ProcessorClock(Stopwatch):
    """Processor seconds of a run's training steps, written to a file in its folder."""

    FILE = "training_processor_seconds"
    clock = staticmethod(time.process_time)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write down what they were."""
        write_text(Path(trainer.default_root_dir, self.FILE), f"{self.seconds}\n")
