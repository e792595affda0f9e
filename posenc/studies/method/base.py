"""What every study is: it measures, draws, tells, and has claims to be judged by."""

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

    encoding  its positional encoding; none if not given
    options   options of posenc.model.encoder.Encoder in which it differs from the rest of the study
    """

    def __init__(self, encoding: PositionalEncoding | None = None, options: Mapping[str, Any] | None = None) -> None:
        self.encoding = PositionalEncoding() if encoding is None else encoding
        self.options = dict(options or {})
        for name in self.options:
            checks.one_of(self, inspect.signature(Encoder).parameters, option=name)

    def build(self, seed: int, **options: Any) -> Encoder:
        """The encoder in float64, its weights drawn from the streams of `seed`; `options` give way to the arm's own."""
        encoder = Encoder(deepcopy(self.encoding), **(options | self.options))
        initialise(encoder, seed)
        return encoder.double()


def answering(task: Task, **options: Any) -> dict[str, Any]:
    """Options of posenc.model.encoder.Encoder that `task` decides, and these."""
    return {
        "vocab_size": task.vocab_size, "num_outputs": task.num_outputs, "readout": task.readout, "causal": task.causal
    } | options  # fmt: skip


def check_arms(arms: Mapping[str, Arm], **options: Any) -> None:
    """Build each arm with one layer, so that what does not fit together says so before any work starts."""
    for arm in arms.values():
        arm.build(0, **(options | {"num_layers": 1}))


@dataclass(eq=False)
class Study(ABC):
    """Measures something of freshly made encoders; what it measures is a function of its options and the seeds.

    arms    name to Arm
    claims  what is to be judged (posenc.statistics.claims)
    seeds   how many: seed, seed + 1, ...
    """

    workers = Workers()
    """Over what a study spreads its work (posenc.studies.method.workers)."""

    arms: Mapping[str, Arm]
    claims: Sequence[Claim]
    seeds: int

    def __post_init__(self) -> None:
        """Check what all studies have."""
        checks.positive(self, seeds=self.seeds)
        self.arms, self.claims = dict(self.arms), list(self.claims)

    def __getstate__(self) -> dict[str, Any]:
        """What a worker is sent: not the other workers, nor what they found."""
        return {name: value for name, value in vars(self).items() if name != "workers"}

    @abstractmethod
    def measure(self, seed: int) -> Measurements:
        """All the numbers, from `seeds` seeds on from this one."""

    @abstractmethod
    def tables(self, found: Measurements) -> Iterator[Table]:
        """What to read in the terminal."""

    @abstractmethod
    def figure(self, found: Measurements, verdicts: Sequence[Verdict]) -> Figure:
        """What to look at."""

    @abstractmethod
    def headline(self, axis: Axes, found: Measurements) -> None:
        """The one chart that stands for the study among others (python -m posenc panel)."""

    def summary(self, found: Measurements) -> dict[str, Any]:
        """What study.json holds beside the verdicts: nothing, unless a study says more."""
        return {}


def draw_tokens(seed: int, batch: int, length: int, vocab_size: int) -> Int[Tensor, "B N"]:
    """Tokens drawn uniformly and independently from the stream (seed, "study/tokens")."""
    return torch.randint(vocab_size, (batch, length), generator=generator(seed, "study/tokens"))
