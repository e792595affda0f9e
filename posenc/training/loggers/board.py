"""TensorBoard as posenc writes it: important curves first, ceilings in the charts, and a row of choices."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.tensorboard.summary import hparams
from torch.utils.tensorboard.writer import SummaryWriter

from posenc import checks
from posenc.checks import ConfigError
from posenc.runs.files import CEILINGS
from posenc.training.loggers.metrics_file import order_events

FIRST = ("validation", "train", "test", "gradient")
"""Groups of curves, the most important first. TensorBoard sorts by name, so their names begin with a number."""
LEFT_OUT = ("epoch", "step", "standard_error")
"""Values with these endings are not drawn as curves. metrics.csv has them."""
BESIDE = {"ceiling": "accuracy", "reference": "bits"}
"""For each group of constants the validation score in whose chart it is drawn."""


def tag(name: str) -> str:
    """The name of a logged value in TensorBoard: `validation/skill` becomes `1_validation/skill`.

    Values by layer come after the groups in `FIRST`. All gradients are in one group.
    """
    group, slash, rest = name.partition("/")
    if not slash:
        return name
    place = next((k for k, first in enumerate(FIRST, start=1) if group.split("_")[0] == first), len(FIRST) + 1)
    return f"{place}_{group}/{rest}"


def write_row(writer: SummaryWriter, choices: Mapping[str, Any], scores: Mapping[str, float]) -> None:
    """Write a row of the HPARAMS tab: the choices, and the last values of the curves `scores`."""
    plain = {
        name: value if isinstance(value, bool | int | float | str) else str(value) for name, value in choices.items()
    }
    for summary in hparams(plain, dict(scores)):
        writer._get_file_writer().add_summary(summary)


class Board(TensorBoardLogger):
    """Lightning's TensorBoardLogger with the names of `tag`. Each ceiling is a curve in the chart of its score.

    A ceiling has its own folder below the run's folder, because TensorBoard gives each folder one colour.

    name, version      folders below save_dir; none by default, because each run has its own folder
    ceilings           whether to write the ceilings; a sweep writes them once, in its overview
    default_hp_metric  as in Lightning
    flush_secs         the number of seconds after which logged values are on disk
    """

    def __init__(
        self,
        save_dir: str,
        name: str = "",
        version: str = "",
        ceilings: bool = True,
        default_hp_metric: bool = False,
        flush_secs: int = 120,
    ) -> None:
        for option, value in (("save_dir", save_dir), ("name", name), ("version", version)):
            if not isinstance(value, str):
                raise ConfigError(f"Board: {option} must be the name of a folder, got {value!r}.")
        checks.boolean(self, ceilings=ceilings, default_hp_metric=default_hp_metric)
        checks.positive(self, flush_secs=flush_secs)
        super().__init__(save_dir, name, version, default_hp_metric=default_hp_metric, flush_secs=flush_secs)
        self._ceilings = ceilings
        self._beside: dict[str, SummaryWriter] = {}

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_beside": {}}

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log a row. Curves get the names of `tag`; each ceiling goes to its own folder."""
        curves: dict[str, float] = {}
        for name, value in metrics.items():
            group, _, rest = name.partition("/")
            if group not in BESIDE:
                curves |= {} if name.endswith(LEFT_OUT) else {tag(name): value}
            elif self._ceilings:
                self._constant(rest, tag(f"validation/{BESIDE[group]}"), float(value), step)
        super().log_metrics(curves, step)

    def _constant(self, name: str, curve: str, value: float, step: int | None) -> None:
        """Log a constant at this step, and first at step 0. So it is a line even if a run has only one validation."""
        begun = name in self._beside
        if not begun:
            folder, steps = Path(self.log_dir) / CEILINGS / name, self._kwargs.get("purge_step")
            order_events(folder)
            self._beside[name] = SummaryWriter(str(folder), **self._kwargs)
            if not steps:
                self._beside[name].add_scalar(curve, value, 0)
        self._beside[name].add_scalar(curve, value, step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Close all files."""
        super().finalize(status)
        for writer in self._beside.values():
            writer.close()
