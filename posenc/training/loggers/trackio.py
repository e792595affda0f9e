"""A Lightning logger for Trackio. Lightning itself has none."""

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only


class TrackioLogger(Logger):
    """Logs metrics with Trackio, on this machine or in a Hugging Face Space.

    project   runs of one project are shown together
    run_name  the name of the run; two runs may have the same name
    space_id  the Space; None: this machine
    """

    def __init__(self, project: str = "posenc", run_name: str | None = None, space_id: str | None = None) -> None:
        super().__init__()
        # The package is optional. If it is missing, the error comes here and not in the middle of a run.
        import trackio  # pyright: ignore[reportMissingImports]

        self._trackio, self._project, self._run_name, self._space_id = trackio, project, run_name, space_id
        self._run: Any = None

    @property
    def name(self) -> str:
        """The project."""
        return self._project

    @property
    def version(self) -> str | None:
        """The run."""
        return self._run_name

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """Trackio's run, started at the first use."""
        if self._run is None:
            self._run = self._trackio.init(
                self._project, name=self._run_name, space_id=self._space_id, auto_log_cpu=False, embed=False
            )
        return self._run

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log a row."""
        self.experiment.log(dict(metrics), step=step)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Log the run's config."""
        self.experiment.config.update(vars(params) if isinstance(params, Namespace) else params)
