"""Evaluation sets: fixed sequences, the same for every encoding. They are drawn when they are read."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from posenc.checks import ConfigError
from posenc.streams import generator
from posenc.tasks.base import Task

Batch = tuple[Tensor, Tensor]

DRAW = 1024
"""How many sequences come from one stream of random numbers. A larger evaluation set uses several streams."""
CHUNKS, LEAST_CHUNK = 10, 100
"""A test set is read in `CHUNKS` chunks until its score is known. If one chunk is enough, the test costs a tenth. A
chunk has at least `LEAST_CHUNK` sequences, because the standard error of very few sequences means little."""


def share(batch: Batch, rank: int, world: int) -> Batch:
    """Sequences rank, rank + world, ... of a batch. Each sequence belongs to exactly one rank."""
    tokens, targets = batch
    if len(tokens) < world:
        raise ConfigError(
            f"a batch of {len(tokens)} sequences cannot be divided among {world} processes; raise data.batch_size or "
            "data.eval_size, make data.train_size a multiple of data.batch_size, or lower trainer.devices."
        )
    return (tokens, targets) if world == 1 else (tokens[rank::world], targets[rank::world])


class EvaluationSet:
    """`size` sequences that depend only on (task, split, length), not on the seed, the encoding or the batch size.

    A sequence is drawn when it is first read.
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
        """Sequences `first` to `last`, without `last`."""
        numbers = range(first // DRAW, -(-last // DRAW))
        parts = [[x[max(0, first - i * DRAW) : last - i * DRAW] for x in self._draw(i)] for i in numbers]
        tokens, targets = (torch.cat(columns) for columns in zip(*parts, strict=True))
        return tokens, targets


def evaluation_set(task: Task, split: str, length: int, size: int) -> Batch:
    """All sequences of an `EvaluationSet`."""
    return EvaluationSet(task, split, length, size).read(0, size)


class EvaluationBatches:
    """The batches of an evaluation set, in chunks of `chunk` sequences. After a chunk, `enough` may end the test.

    batch_size   sequences in a batch; the last batch of a chunk may be smaller
    rank, world  the number of this process, and of all processes; they divide each chunk
    """

    def __init__(
        self, chosen: EvaluationSet, chunk: int, batch_size: int, rank: int, world: int, enough: Callable[[], bool]
    ) -> None:
        self.chosen, self.chunk, self.batch_size, self.enough = chosen, chunk, batch_size, enough
        self.rank, self.world = rank, world
        self.used = 0
        """How many sequences all ranks together have read."""

    def _ends(self) -> Iterator[tuple[int, int]]:
        size = self.chosen.size
        return ((first, min(first + self.chunk, size)) for first in range(0, size, self.chunk))

    def __len__(self) -> int:
        """The number of batches if all chunks are read."""
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
