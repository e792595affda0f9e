"""The callback with which the section `answers` times the training of each run."""

import time
from pathlib import Path

import lightning as L

from posenc.runs.writing import write_text
from posenc.training.trainer import Stopwatch


class ProcessorClock(Stopwatch):
    """Writes the processor seconds of a run's training steps to a file in the run folder."""

    FILE = "training_processor_seconds"
    clock = staticmethod(time.process_time)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the seconds."""
        write_text(Path(trainer.default_root_dir, self.FILE), f"{self.seconds}\n")
