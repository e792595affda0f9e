"""Evaluation sets: fixed sequences that every encoding shares, drawn as they are read."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from posenc.checks import ConfigError
from posenc.streams import generator
from posenc.tasks.base import Task

Batch = tuple[Tensor, Tensor]

DRAW = 1024
"""Sequences that one stream of random numbers gives; an evaluation set has a stream for each `DRAW` of them."""
CHUNKS, LEAST_CHUNK = 10, 100
"""Chunks in a test set that is read until its score is known: where one is enough, the test costs a tenth. A chunk has
at least `LEAST_CHUNK` sequences, so that its standard error means something."""


def share(batch: Batch, rank: int, world: int) -> Batch:
    """Sequences rank, rank + world, ... of a batch: over all ranks each is taken once."""
    tokens, targets = batch
    if len(tokens) < world:
        raise ConfigError(
            f"a batch of {len(tokens)} sequences cannot be divided among {world} processes; raise data.batch_size or "
            "data.eval_size, make data.train_size a multiple of data.batch_size, or lower trainer.devices."
        )
    return (tokens, targets) if world == 1 else (tokens[rank::world], targets[rank::world])


class EvaluationSet:
    """`size` sequences that depend on (task, split, length) alone: not on the seed, the encoding or the batch size.

    They are drawn when they are first asked for.
    """

    def __init__(self, task: Task, split: str, length: int, size: int) -> None:
        self.task, self.split, self.length, self.size = task, split, length, size
        self._part: Task | None = None
        self._drawn: dict[int, Batch] = {}

    def _draw(self, index: int) -> Batch:
        if index not in self._drawn:
            self._part = self._part or self.task.split(self.split)
            stream = generator(0, f"{self.task}/{self.split}/{self.length}/{index}")
            self._drawn[index] = self._part.sample(stream, min(DRAW, self.size - index * DRAW), self.length)
        return self._drawn[index]

    def read(self, first: int, last: int) -> Batch:
        """Sequences `first` to `last`, this one left out."""
        numbers = range(first // DRAW, -(-last // DRAW))
        parts = [[x[max(0, first - i * DRAW) : last - i * DRAW] for x in self._draw(i)] for i in numbers]
        tokens, targets = (torch.cat(columns) for columns in zip(*parts, strict=True))
        return tokens, targets


def evaluation_set(task: Task, split: str, length: int, size: int) -> Batch:
    """All sequences of an `EvaluationSet`."""
    return EvaluationSet(task, split, length, size).read(0, size)


class EvaluationBatches:
    """The batches of an evaluation set, in chunks of `chunk` sequences, until `enough` says so after one of them.

    batch_size   sequences in a batch; the last one of a chunk may be smaller
    rank, world  which share of each chunk, of how many
    """

    def __init__(
        self, chosen: EvaluationSet, chunk: int, batch_size: int, rank: int, world: int, enough: Callable[[], bool]
    ) -> None:
        self.chosen, self.chunk, self.batch_size, self.enough = chosen, chunk, batch_size, enough
        self.rank, self.world = rank, world
        self.used = 0
        """Sequences that were read, by all ranks together."""

    def _ends(self) -> Iterator[tuple[int, int]]:
        size = self.chosen.size
        return ((first, min(first + self.chunk, size)) for first in range(0, size, self.chunk))

    def __len__(self) -> int:
        """Batches, where all chunks are read."""
        shares = (len(range(self.rank, last - first, self.world)) for first, last in self._ends())
        return sum(-(-size // self.batch_size) for size in shares)

    def __iter__(self) -> Iterator[Batch]:
        self.used = 0
        for first, last in self._ends():
            tokens, targets = share(self.chosen.read(first, last), self.rank, self.world)
            self.used = last
            yield from zip(tokens.split(self.batch_size), targets.split(self.batch_size), strict=True)
            if self.enough():
                return
