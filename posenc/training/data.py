"""Batches for Lightning. Training batches are generated during training; all encodings share the evaluation sets."""

from collections.abc import Callable, Iterable, Iterator
from itertools import count

import lightning as L
import torch
from torch.utils.data import DataLoader, IterableDataset

from posenc import checks
from posenc.checks import ConfigError
from posenc.streams import generator
from posenc.tasks.base import Task
from posenc.training.evaluation.sets import CHUNKS, LEAST_CHUNK, Batch, EvaluationBatches, EvaluationSet, share

FEWEST_SEQUENCES = 1000
"""The lowest number of sequences in an evaluation set at each length, unless `eval_size` is lower."""

SHORT = 1024
"""Up to this length an evaluation batch is limited by its tokens, above by its pairs of tokens.

Attention needs memory for each pair.
"""


class Shares(IterableDataset):
    """One rank's share of every batch."""

    def __init__(self, batches: Iterable[Batch], rank: int, world: int) -> None:
        self.batches, self.rank, self.world = batches, rank, world

    def __iter__(self) -> Iterator[Batch]:
        return (share(batch, self.rank, self.world) for batch in self.batches)


class TrainStream(IterableDataset):
    """The training batches. Batch t depends only on (seed, t).

    With `train_size` a pool of `train_size` sequences is drawn once, at the longest trained length, and read in epochs.
    Each epoch has its own order; its last batch may be smaller. Without `train_size` all sequences are new.

    With `curriculum_steps` the longest length that can be drawn grows over the first `curriculum_steps` batches, from
    the shortest to the longest trained length.
    """

    def __init__(
        self,
        task: Task,
        batch_size: int,
        seed: int,
        train_size: int | None = None,
        start: int = 0,
        curriculum_steps: int = 0,
    ) -> None:
        self.task, self.batch_size, self.seed, self.train_size, self.start = task, batch_size, seed, train_size, start
        self.curriculum_steps = curriculum_steps

    def __iter__(self) -> Iterator[Batch]:
        return (self.fresh(t) for t in count(self.start)) if self.train_size is None else self._epochs(self.train_size)

    def fresh(self, t: int) -> Batch:
        """Batch t of new sequences, at one length drawn from the training range."""
        stream = generator(self.seed, f"data/train/{t}")
        shortest, longest = self.task.length
        if t < self.curriculum_steps:
            longest = shortest + (longest - shortest) * t // self.curriculum_steps
        length = shortest
        if longest > shortest:
            length = int(torch.randint(shortest, longest + 1, (), generator=stream))
        return self.task.sample(stream, self.batch_size, length)

    def _epochs(self, size: int) -> Iterator[Batch]:
        tokens, targets = self.task.sample(generator(self.seed, "data/pool"), size, self.task.length[1])
        batches = -(-size // self.batch_size)
        for epoch in count(self.start // batches):
            order = torch.randperm(size, generator=generator(self.seed, f"data/order/{epoch}"))
            first = self.start - epoch * batches if epoch == self.start // batches else 0
            for chosen in order.split(self.batch_size)[first:]:
                yield tokens[chosen], targets[chosen]


class SequenceData(L.LightningDataModule):
    """Training batches, one validation set (longest trained length) and one test set for each test length.

    batch_size             sequences in a training batch
    eval_size              upper limit of the sequences in the validation set and in each test set
    eval_tokens            upper limit of their tokens; but a set has at least 1,000 sequences (or eval_size, if lower)
    eval_tokens_per_batch  tokens in an evaluation batch up to length 1,024. Above, a batch has as many pairs of tokens
                           as at length 1,024
    eval_error             a test set is read in tenths until skill has at most this standard error (see `known`); None:
                           the whole set is read
    validation_size        sequences in the validation set, at most those of a test set; None: as many
    train_size             sequences in a fixed training set; None: every batch has new sequences
    curriculum_steps       see TrainStream; 0: no curriculum
    """

    def __init__(
        self,
        task: Task,
        seed: int,
        batch_size: int = 128,
        eval_size: int = 10_000,
        eval_tokens: int = 524_288,
        eval_tokens_per_batch: int = 32_768,
        train_size: int | None = None,
        curriculum_steps: int = 0,
        eval_error: float | None = None,
        validation_size: int | None = None,
    ) -> None:
        super().__init__()
        sizes = {"batch_size": batch_size, "eval_size": eval_size, "eval_tokens": eval_tokens}
        sizes |= {"eval_tokens_per_batch": eval_tokens_per_batch} | checks.given(validation_size=validation_size)
        checks.positive(self, **sizes)
        checks.positive(self, minimum=0, curriculum_steps=curriculum_steps)
        checks.number(self, low=0, high=1, open_low=True, **checks.given(eval_error=eval_error))
        longest = task.length[1]
        checks.tensor_fits(self, batch_size=batch_size, length=longest)
        if train_size is not None:
            checks.tensor_fits(self, train_size=train_size, length=longest)
        for tested in {longest, *task.test_lengths}:
            checks.tensor_fits(
                self, eval_size=min(eval_size, max(FEWEST_SEQUENCES, eval_tokens // tested)), length=tested
            )
        if curriculum_steps and (train_size is not None or task.length[0] == task.length[1]):
            one = "a fixed training set has one" if train_size is not None else f"dataset.length is {task.length[1]}"
            raise ConfigError(
                f"SequenceData: a curriculum grows through a range of lengths, but {one}; "
                "set dataset.length=[shortest,longest] and leave data.train_size out, or set data.curriculum_steps=0."
            )
        if train_size is not None:
            if batch_size > train_size:
                raise ConfigError(
                    f"SequenceData: a batch of {batch_size} sequences exceeds train_size {train_size}; "
                    f"set data.batch_size={train_size} or less."
                )
            if task.length[0] != longest:
                raise ConfigError(
                    f"SequenceData: a fixed training set needs one length, but dataset.length is {task.length}; "
                    f"set dataset.length={longest}, or leave data.train_size out."
                )
        self.task, self.seed = task, seed
        self.batch_size, self.eval_size, self.train_size = batch_size, eval_size, train_size
        self.eval_tokens, self.eval_tokens_per_batch = eval_tokens, eval_tokens_per_batch
        self.curriculum_steps = curriculum_steps
        self.eval_error, self.validation_size = eval_error, validation_size
        self.test_lengths = task.test_lengths
        self.known: Callable[[int, float], bool] = lambda length, error: False
        """(length, error) → whether skill is known well enough. `config.build` replaces it by SequenceModule.known."""
        self._tests: dict[int, EvaluationBatches] = {}

    def train_dataloader(self) -> DataLoader:
        """Training batches from the trainer's step on. A resumed run goes on with batches that it has not seen."""
        start = 0 if self.trainer is None else self.trainer.global_step
        stream = TrainStream(
            self.task.split("train"), self.batch_size, self.seed, self.train_size, start, self.curriculum_steps
        )
        return DataLoader(Shares(stream, *self._rank), batch_size=None)

    def val_dataloader(self) -> EvaluationBatches:
        """The validation set."""
        length = self.task.length[1]
        size = self.size(length)
        return self._evaluation("validation", length, min(size, self.validation_size or size))

    def test_dataloader(self) -> list[EvaluationBatches]:
        """One loader for each of `test_lengths`, in their order."""
        self._tests = {length: self._evaluation("test", length, self.size(length)) for length in self.test_lengths}
        return [*self._tests.values()]

    @property
    def _rank(self) -> tuple[int, int]:
        """(number of this process, number of all processes)."""
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def _evaluation(self, split: str, length: int, size: int) -> EvaluationBatches:
        tokens, error = self.task.tokens(length), self.eval_error
        batch_size = max(1, self.eval_tokens_per_batch * min(SHORT, tokens) // tokens**2)
        chosen, rank = EvaluationSet(self.task, split, length, size), self._rank
        if split == "validation" or error is None:
            return EvaluationBatches(chosen, size, batch_size, *rank, lambda: False)
        chunk = max(LEAST_CHUNK, -(-size // CHUNKS))
        return EvaluationBatches(chosen, chunk, batch_size, *rank, lambda: self.known(length, error))

    def size(self, length: int) -> int:
        """Sequences in an evaluation set."""
        return min(self.eval_size, max(FEWEST_SEQUENCES, self.eval_tokens // self.task.tokens(length)))

    def used(self, length: int) -> int:
        """How many sequences of the test set the last test has read. They are the first ones, for every encoding."""
        return self._tests[length].used
