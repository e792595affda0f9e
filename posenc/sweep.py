"""What happens when a sweep has ended: a table, and an exit status that tells whether every run completed."""

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from posenc import runs, summary


class SweepSummary(Callback):
    """Prints all runs of the sweep; the process ends with status 1 unless every one completed."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Read the run folders, print, set the exit status."""
        root = Path(config.hydra.sweep.dir)
        results = list(runs.read_results(root))
        if results:  # a sweep over studies leaves none
            summary.print_sweep(root, results)
        if any(result["status"] != "completed" for _, result in results):
            sys.exit(1)
