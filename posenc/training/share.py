"""How several processes divide a batch that one process would see whole."""

from collections.abc import Iterable, Iterator

from torch import Tensor
from torch.utils.data import IterableDataset

from posenc.checks import ConfigError

Batch = tuple[Tensor, Tensor]


def share(batch: Batch, rank: int, world: int) -> Batch:
    """Sequences rank, rank + world, ... of a batch: over all ranks each is taken once."""
    tokens, targets = batch
    if len(tokens) < world:
        raise ConfigError(
            f"a batch of {len(tokens)} sequences cannot be divided among {world} processes; raise data.batch_size or "
            "data.eval_size, make data.train_size a multiple of data.batch_size, or lower trainer.devices."
        )
    return (tokens, targets) if world == 1 else (tokens[rank::world], targets[rank::world])


class Shares(IterableDataset):
    """One rank's share of every batch of a stream."""

    def __init__(self, batches: Iterable[Batch], rank: int, world: int) -> None:
        self.batches, self.rank, self.world = batches, rank, world

    def __iter__(self) -> Iterator[Batch]:
        return (share(batch, self.rank, self.world) for batch in self.batches)
