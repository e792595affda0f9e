"""The learning rate of an encoding on a task, chosen by runs that are not used for verdicts."""

import math
from pathlib import Path

from posenc.checks import ConfigError
from posenc.report.reading import ledger
from posenc.report.reading.read import Run
from posenc.runs.identity import settings
from posenc.terminal import TRAIN

USUAL = 3e-3
"""The default rate. Among equally good rates the one nearest to it is chosen."""


def best_rate(path: Path, dataset: str, encoding: str, seed: int) -> float:
    """The rate whose run with `seed` was done first. If no run was done, the rate with the lowest validation loss.

    Only validation data are used, with a seed that is not used for a verdict. Raises ConfigError if the ledger at
    `path` has no such run.
    """
    runs = [
        run
        for run in ledger.cached(path).values()
        if (run.dataset, run.encoding, run.seed) == (dataset, encoding, seed)
    ]
    if not runs:
        raise ConfigError(
            f"{path} has no run of {encoding} on {dataset} with seed {seed}, which chooses the learning rate; run "
            f"`{TRAIN} -m experiment=answers_rates dataset={dataset} encoding={encoding}`, then "
            "`python -m posenc ledger add` its folder."
        )
    return _rate(min(runs, key=_rank))


def _rate(run: Run) -> float:
    return float(settings(run.config or {})["optimizer.lr"])


def _rank(run: Run) -> tuple[float, float, float]:
    """Smaller is better: steps until it was done, best validation loss, distance from the usual rate."""
    stopped, validation = run.result.get("stopped"), run.result.get("validation")
    loss = validation.get("best_loss") if isinstance(validation, dict) else None
    return (
        math.inf if stopped is None else float(stopped),
        math.inf if loss is None or run.status != "completed" else float(loss),
        abs(math.log(_rate(run) / USUAL)),
    )
