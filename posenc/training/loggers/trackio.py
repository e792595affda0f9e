"""Trackio as a logger of Lightning, which has none of its own."""

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only


class TrackioLogger(Logger):
    """Metrics of a run in Trackio's own store: a folder of this machine, or a Hugging Face Space.

    project   runs that are shown together
    run_name  what the run is called there; Trackio tells runs of one name apart
    space_id  None for this machine
    """

    def __init__(self, project: str = "posenc", run_name: str | None = None, space_id: str | None = None) -> None:
        super().__init__()
        # an optional package: missing, it is missed here and not in the middle of a run
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
        """Trackio's run, begun when it is first asked for."""
        if self._run is None:
            self._run = self._trackio.init(
                self._project, name=self._run_name, space_id=self._space_id, auto_log_cpu=False, embed=False
            )
        return self._run

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """One row."""
        self.experiment.log(dict(metrics), step=step)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """The run's config."""
        self.experiment.config.update(vars(params) if isinstance(params, Namespace) else params)
