"""The base class of studies, and their arms."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table
from torch import Tensor

from posenc import checks
from posenc.encodings.base import PositionalEncoding
from posenc.model.encoder import Encoder
from posenc.statistics.claims import Claim, Verdict
from posenc.statistics.measurements import Measurements
from posenc.streams import generator, initialise
from posenc.studies.method.workers import Workers
from posenc.tasks.base import Task


class Arm:
    """One way to build an encoder.

    encoding  the positional encoding; none if not given
    options   options of posenc.model.encoder.Encoder that replace those of the study
    """

    def __init__(self, encoding: PositionalEncoding | None = None, options: Mapping[str, Any] | None = None) -> None:
        self.encoding = PositionalEncoding() if encoding is None else encoding
        self.options = dict(options or {})
        for name in self.options:
            checks.one_of(self, inspect.signature(Encoder).parameters, option=name)

    def build(self, seed: int, **options: Any) -> Encoder:
        """The encoder in float64, with weights from the streams of `seed`. The arm's options replace `options`."""
        encoder = Encoder(deepcopy(self.encoding), **(options | self.options))
        initialise(encoder, seed)
        return encoder.double()


def answering(task: Task, **options: Any) -> dict[str, Any]:
    """`options`, and the options of posenc.model.encoder.Encoder that `task` decides."""
    return {
        "vocab_size": task.vocab_size, "num_outputs": task.num_outputs, "readout": task.readout, "causal": task.causal
    } | options  # fmt: skip


def check_arms(arms: Mapping[str, Arm], **options: Any) -> None:
    """Build each arm with one layer, so that options that do not fit together raise ConfigError before any work."""
    for arm in arms.values():
        arm.build(0, **(options | {"num_layers": 1}))


@dataclass(eq=False)
class Study(ABC):
    """Measures encoders. The measurements depend only on the options and the seeds.

    arms    {name: Arm}
    claims  the claims to judge (posenc.statistics.claims)
    seeds   the number of seeds: seed, seed + 1, ...
    """

    workers = Workers()
    """The processes that do the work (posenc.studies.method.workers)."""

    arms: Mapping[str, Arm]
    claims: Sequence[Claim]
    seeds: int

    def __post_init__(self) -> None:
        """Check the options of all studies."""
        checks.positive(self, seeds=self.seeds)
        self.arms, self.claims = dict(self.arms), list(self.claims)

    def __getstate__(self) -> dict[str, Any]:
        """The state for a worker, without the other workers and their answers."""
        return {name: value for name, value in vars(self).items() if name != "workers"}

    @abstractmethod
    def measure(self, seed: int) -> Measurements:
        """All measurements, of `seeds` seeds beginning with `seed`."""

    @abstractmethod
    def tables(self, found: Measurements) -> Iterator[Table]:
        """The tables for the terminal."""

    @abstractmethod
    def figure(self, found: Measurements, verdicts: Sequence[Verdict]) -> Figure:
        """The figure of the study."""

    @abstractmethod
    def headline(self, axis: Axes, found: Measurements) -> None:
        """Draw the chart of the study for `python -m posenc panel`."""

    def summary(self, found: Measurements) -> dict[str, Any]:
        """The summary in study.json; empty by default."""
        return {}


def draw_tokens(seed: int, batch: int, length: int, vocab_size: int) -> Int[Tensor, "B N"]:
    """Tokens drawn uniformly and independently from the stream (seed, "study/tokens")."""
    return torch.randint(vocab_size, (batch, length), generator=generator(seed, "study/tokens"))
