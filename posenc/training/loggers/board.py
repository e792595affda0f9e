"""TensorBoard as posenc writes it: what matters first, ceilings beside the curves, a row of choices."""

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
"""Groups of curves in the order in which they are looked at. TensorBoard sorts by name, so they have numbers."""
LEFT_OUT = ("epoch", "step", "standard_error")
"""Ends of the names of what is no curve; metrics.csv has it."""
BESIDE = {"ceiling": "accuracy", "reference": "bits"}
"""Groups of constants, and the score of the validation that each is a limit of."""


def tag(name: str) -> str:
    """What a logged value is called in TensorBoard: `validation/skill` is `1_validation/skill`.

    What is logged by layer comes after the groups in `FIRST`, and gradients stand together.
    """
    group, slash, rest = name.partition("/")
    if not slash:
        return name
    place = next((k for k, first in enumerate(FIRST, start=1) if group.split("_")[0] == first), len(FIRST) + 1)
    return f"{place}_{group}/{rest}"


def write_row(writer: SummaryWriter, choices: Mapping[str, Any], scores: Mapping[str, float]) -> None:
    """A row for the HPARAMS tab: choices, and the curves `scores` whose last values stand beside them."""
    plain = {
        name: value if isinstance(value, bool | int | float | str) else str(value) for name, value in choices.items()
    }
    for summary in hparams(plain, dict(scores)):
        writer._get_file_writer().add_summary(summary)


class Board(TensorBoardLogger):
    """Lightning's TensorBoardLogger with the names of `tag`, and ceilings as curves of the chart that they belong to.

    A ceiling has a folder of its own below that of the run: TensorBoard gives each folder a colour.

    name, version      folders below save_dir; none by default, as a run has a folder of its own
    ceilings           whether to write the ceilings; a sweep has them once, in its overview
    default_hp_metric  as in Lightning
    flush_secs         seconds after which what was logged is on disk
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
        """Log a row: curves under their names in TensorBoard, each ceiling as a run of its own."""
        curves: dict[str, float] = {}
        for name, value in metrics.items():
            group, _, rest = name.partition("/")
            if group not in BESIDE:
                curves |= {} if name.endswith(LEFT_OUT) else {tag(name): value}
            elif self._ceilings:
                self._constant(rest, tag(f"validation/{BESIDE[group]}"), float(value), step)
        super().log_metrics(curves, step)

    def _constant(self, name: str, curve: str, value: float, step: int | None) -> None:
        """Log a constant at this step; from step 0 on, so that it is a line where a run has one validation."""
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
