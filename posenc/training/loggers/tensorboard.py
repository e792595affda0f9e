"""TensorBoard with its groups in the order in which they are read: training and validation first."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger

from posenc.checks import ConfigError

ORDER = ("train", "validation", "test", "ceiling", "reference")
"""The groups that come first; TensorBoard sorts by name, so that these get their number in front."""


def tag(name: str) -> str:
    """What TensorBoard calls a metric: train/loss is 1_train/loss, and gradient/norm stays as it is."""
    group, slash, rest = name.partition("/")
    return f"{ORDER.index(group) + 1}_{name}" if slash and rest and group in ORDER else name


class OrderedTensorBoard(TensorBoardLogger):
    """Lightning's logger, whose scalars have the names of `tag`. metrics.csv has them without numbers."""

    def __init__(
        self,
        save_dir: str,
        name: str | None = "",
        version: int | str | None = "",
        log_graph: bool = False,
        default_hp_metric: bool = False,
        prefix: str = "",
        sub_dir: str | None = None,
        **options: Any,
    ) -> None:
        try:
            super().__init__(save_dir, name, version, log_graph, default_hp_metric, prefix, sub_dir, **options)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"logger: {type(self).__name__} says: {error}.") from error

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write the metrics under their tags."""
        super().log_metrics({tag(name): value for name, value in metrics.items()}, step)
