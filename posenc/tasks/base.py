"""What a task is: a law for (tokens, targets), exact about what it promises, able to say what is achievable."""

import math
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from jaxtyping import Int
from torch import Generator, Tensor

from posenc import checks
from posenc.checks import ConfigError

IGNORE = -100
"""Target of a token at which nothing is asked (torch's `ignore_index`)."""

MULTIPLES = (1, 1.5, 2, 4, 8)
"""Test lengths, in longest training lengths, where none are given."""

MAX_LENGTH = 2**20
"""Upper limit of a length; above it attention takes minutes for one sequence."""

MAX_SYMBOLS = 2**20
"""Upper limit of `vocab_size` and of the number of classes; language models have a quarter of it."""

READOUTS = ("mean", "last", "query", "per_token")


@dataclass(kw_only=True, eq=False, repr=False)
class Task:
    """Sequences and what is asked about them, generated on the fly.

    length        training length, or [shortest, longest]: one length is drawn for each batch. It counts what the law
                  is about (characters, digits, items); `tokens` says how many tokens that makes
    test_lengths  lengths at which a run is tested; None: 1, 1.5, 2, 4 and 8 times the longest training length
    vocab_size    tokens are whole numbers in [0, vocab_size)
    causal        whether a model should see the sequence from left to right only (the default of `model.causal`)
    readout       where a model should answer (the default of `model.readout`)

    A subclass is a dataclass like this one. Its fields are its options, and it repeats only those of these five whose
    default differs. Its `__post_init__` checks its options, sets what follows from them (`num_outputs`, `min_length`,
    where its law ends `max_length`, and a `vocab_size` that is no option) and then calls this class's. It defines
    `sample`.
    """

    length: Any = 32  # as it is given; (shortest, longest) once the task is made
    test_lengths: Any = None  # as they are given; a sorted list once the task is made
    vocab_size: int
    causal: bool = False
    readout: str = "mean"

    num_outputs: int = field(init=False)
    min_length: int = field(default=1, init=False)
    max_length: float = field(default=math.inf, init=False)
    digest: str | None = field(default=None, init=False)
    """Of the data that a task reads; None where there are none."""
    data: str | None = field(default=None, init=False)
    """What a task has read, in words; None where there is nothing."""
    learns_tokens: bool = field(default=False, init=False)
    """Whether tokens are learned from the data, so that of other data they mean something else."""
    per_token: bool = field(default=False, init=False)
    """Whether each token has an answer of its own; a sequence has one otherwise."""
    published: ClassVar[str] = "nothing that we know of."
    """What is known about encodings on this task, with its source."""
    determined_by: Literal["sequence", "bag"] | None = field(default=None, init=False)
    """What leaves one answer only: the sequence (its order-aware ceiling is 1), or its bag of tokens (so is the other).

    None: an answer may remain uncertain, or nobody knows. A ceiling that this does not settle is a method's.
    """
    needs_causal: bool | None = field(default=None, init=False)
    """The value of `model.causal` without which the answers mean nothing; None: both are sound.

    True: later tokens show answers, and a model that sees them copies. False: the answer is about the whole sequence,
    at tokens that see only a part. A task that has a variant for the other value sets this in its `__post_init__`.
    """
    blind_masks: tuple[bool, ...] = field(default=(False,), init=False)
    """The values of `model.causal` for which `order_blind_ceiling` stands.

    Without a causal mask every token sees the same bag. Under one, each sees another bag, and a second layer can
    compare them: a stack without encoding is not blind. A task that is causal by its law states a ceiling all the same,
    that of one look at the bag of earlier tokens; what a model without encoding gains on it, the mask alone gives.
    """

    def __post_init__(self) -> None:
        """Check what all tasks have."""
        checks.positive(self, maximum=MAX_SYMBOLS, vocab_size=self.vocab_size)
        checks.positive(self, maximum=MAX_SYMBOLS, num_outputs=self.num_outputs)
        checks.boolean(self, causal=self.causal)
        checks.one_of(self, READOUTS, readout=self.readout)
        self.per_token = self.per_token or self.readout == "per_token"
        self.length = self._range(self.length)
        self.test_lengths = self._tested(self.test_lengths)
        for tested in (self.length[0], *self.test_lengths):
            checks.positive(self, maximum=MAX_LENGTH, length=tested)
            if tested < self.min_length:
                raise ConfigError(f"{self}: length must be at least {self.min_length}, got {tested}.")

    def _range(self, length: int | Sequence[int]) -> tuple[int, int]:
        if isinstance(length, int):
            length = length, length
        if isinstance(length, str) or not isinstance(length, Sequence) or len(length) != 2:
            raise ConfigError(f"{self}: length must be one whole number or [shortest, longest], got {length!r}.")
        for end in length:
            checks.positive(self, maximum=MAX_LENGTH, length=end)
        shortest, longest = length
        if shortest > longest:
            raise ConfigError(f"{self}: the training lengths [{shortest}, {longest}] are an empty range.")
        return shortest, longest

    def _tested(self, lengths: Sequence[int] | None) -> list[int]:
        if lengths is None:
            further = (round(multiple * self.length[1]) for multiple in MULTIPLES)
            return sorted({self.length[1], *(tested for tested in further if tested <= self.max_length)})
        if isinstance(lengths, str) or not isinstance(lengths, Sequence):
            raise ConfigError(f"{self}: test_lengths must be a list, got {lengths!r}; write [{lengths}].")
        if not lengths:
            raise ConfigError(f"{self}: test_lengths is empty; list a length, or write null for the usual ones.")
        for tested in lengths:
            checks.positive(self, maximum=MAX_LENGTH, length=tested)
        return sorted(set(lengths))

    @property
    def longest(self) -> int:
        """The longest length of a run, in training or in its tests."""
        return max(self.length[1], *self.test_lengths)

    def __str__(self) -> str:
        return type(self).__name__

    def check_mask(self, causal: bool) -> None:
        """Raise ConfigError if a model under this mask would be shown answers, or could not know them."""
        if self.needs_causal is None or causal == self.needs_causal:
            return
        other = str(causal).lower()
        fit = f"set model.causal={str(self.needs_causal).lower()}"
        if type(self).needs_causal is None:
            fit += f", or dataset.causal={other} for the same task without this"
        if causal:
            raise ConfigError(f"{self} asks tokens about the whole sequence, which a causal model has not seen; {fit}.")
        raise ConfigError(f"{self}: a model without a causal mask reads the answers in later tokens; {fit}.")

    def split(self, name: str) -> "Task":
        """The task on split `name` (train, validation or test); synthetic tasks have one law for all of them."""
        return self

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Int[Tensor, "B N"], Int[Tensor, "B *N"]]:
        """`batch` sequences of `length` tokens, and one target each, (B,), or one a token, (B, N), with IGNORE."""
        raise NotImplementedError

    def tokens(self, length: int) -> int:
        """How many tokens a sequence of this length has: a task may ask about `length` items in more tokens."""
        return self.sample(Generator().manual_seed(0), 1, length)[0].shape[1]

    def order_blind_ceiling(self, length: int) -> float | None:
        """The best expected accuracy of any model that is blind to order; None where nobody knows.

        What such a model sees depends on where it answers (`readout`): the bag of tokens (mean, query), or the bag and
        the token at which it answers (last, per_token). `blind_masks` says under which masks that is so; `ceilings`
        puts the two together.
        """
        return 1.0 if self.determined_by == "bag" else None

    def order_aware_ceiling(self, length: int) -> float | None:
        """The best expected accuracy of any model; None where nobody knows."""
        return None if self.determined_by is None else 1.0

    def ceilings(
        self, length: int, *, causal: bool | None = None, readout: str | None = None, window: int | None = None
    ) -> tuple[float | None, float | None]:
        """(order-blind, order-aware) ceiling for a model with this mask, window and read-out; by default the task's.

        The order-blind one is None, and skill undefined, where a stack without encoding is not blind to order: under a
        mask that `blind_masks` does not hold, under a causal mask with the mean of all tokens as read-out (their bags
        of earlier tokens are the order), and in a window. Where it equals the order-aware one, the bag determines the
        answer and nothing else matters.
        """
        task = copy(self)
        task.readout = self.readout if readout is None else readout
        causal = self.causal if causal is None else causal
        blind, aware = task.order_blind_ceiling(length), self.order_aware_ceiling(length)
        sees_order = causal not in self.blind_masks or (causal and task.readout == "mean") or window is not None
        return (None if sees_order and blind != aware else blind), aware

    def sources(self, tokens: Int[Tensor, "B N"]) -> Int[Tensor, "B N"] | None:
        """Which key each query must read to know the answer, −1 where nothing is asked; None: not at one place."""
        return None

    def references(self) -> dict[str, float]:
        """Other numbers to read a result against, by name."""
        return {}


def skill(accuracy: float, blind: float | None, aware: float | None) -> float | None:
    """(accuracy − blind) / (aware − blind): 0 for the best order-blind model, 1 for the best of all; not clipped."""
    if blind is None or aware is None or aware <= blind:
        return None
    return (accuracy - blind) / (aware - blind)
