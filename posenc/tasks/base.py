"""A task: a probability law for (tokens, targets), and the best accuracies that are possible under this law."""

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
"""Target of a token that has no question (torch's `ignore_index`)."""

MULTIPLES = (1, 1.5, 2, 4, 8)
"""Default test lengths, as multiples of the longest trained length."""

MAX_LENGTH = 2**20
"""Upper limit of a length; above it attention takes minutes for one sequence."""

MAX_SYMBOLS = 2**20
"""Upper limit of `vocab_size` and of the number of classes, about four times the vocabulary of a language model."""

EACH_TESTED = "each of dataset.test_lengths"
"""A test length, as a message names it."""

READOUTS = ("mean", "last", "query", "per_token")


@dataclass(kw_only=True, eq=False, repr=False)
class Task:
    """Sequences and their answers, generated during training.

    length        trained length, or [shortest, longest]: one length is drawn for each batch. It counts the items of
                  the task (characters, digits, ...); `tokens` says how many tokens they become
    test_lengths  lengths at which a run is tested; None: 1, 1.5, 2, 4 and 8 times the longest trained length
    vocab_size    tokens are whole numbers in [0, vocab_size)
    causal        whether a model should see the sequence from left to right only (the default of `model.causal`)
    readout       where a model should answer (the default of `model.readout`)

    A subclass is a dataclass too, and its fields are its options. It repeats one of these five fields only to change
    the default. It defines `sample`. Its `__post_init__` checks the options, sets the fields that follow from them
    (`num_outputs`, `min_length`, perhaps `max_length` and `vocab_size`), and then calls `super().__post_init__()`.
    """

    length: Any = 32  # after __post_init__: (shortest, longest)
    test_lengths: Any = None  # after __post_init__: a sorted list
    vocab_size: int
    causal: bool = False
    readout: str = "mean"

    num_outputs: int = field(init=False)
    min_length: int = field(default=1, init=False)
    max_length: float = field(default=math.inf, init=False)
    digest: str | None = field(default=None, init=False)
    """Digest of the data that the task reads; None if it reads none."""
    data: str | None = field(default=None, init=False)
    """A description of the data that the task has read; None if it reads none."""
    learns_tokens: bool = field(default=False, init=False)
    """Whether the tokens are learned from the data. The same id then means something else with other data."""
    per_token: bool = field(default=False, init=False)
    """Whether each token has its own answer; otherwise each sequence has one."""
    config_group: ClassVar[str] = "dataset"
    """The group of its options, for messages about them."""
    published: ClassVar[str] = "nothing that we know of."
    """What is known about encodings on this task, with its source."""
    determined_by: Literal["sequence", "bag"] | None = field(default=None, init=False)
    """What determines the answer: the sequence (the order-aware ceiling is 1) or its bag of tokens (both ceilings are
    1). None: the answer may be random, or we do not know.

    If a ceiling does not follow from this field, the task overrides the ceiling's method.
    """
    needs_causal: bool | None = field(default=None, init=False)
    """The value of `model.causal` that the task needs; None: both values make sense.

    True: later tokens contain the answers, and a model that sees them can copy. False: each token is asked about the
    whole sequence, and under a causal mask it sees only a part. A task with both variants sets this field in
    `__post_init__`.
    """
    blind_masks: tuple[bool, ...] = field(default=(False,), init=False)
    """The values of `model.causal` for which `order_blind_ceiling` holds.

    Under a causal mask each token sees a different bag of tokens. A second layer can compare these bags, so a model
    without encoding is not blind to order. A task that needs a causal mask still gives a ceiling: the best accuracy
    from the bag of earlier tokens. If a model without encoding is better than that, the mask alone is the reason.
    """

    def __post_init__(self) -> None:
        """Check the fields that all tasks have."""
        checks.positive(self, maximum=MAX_SYMBOLS, vocab_size=self.vocab_size)
        checks.positive(str(self), maximum=MAX_SYMBOLS, num_outputs=self.num_outputs)  # no option has this name
        checks.boolean(self, causal=self.causal)
        checks.one_of(self, READOUTS, readout=self.readout)
        self.per_token = self.per_token or self.readout == "per_token"
        self.length = self._range(self.length)
        self.test_lengths = self._tested(self.test_lengths)
        checks.positive(str(self), maximum=MAX_LENGTH, **{EACH_TESTED: self.test_lengths[-1]})  # perhaps a multiple
        for name, shortest in (("dataset.length", self.length[0]), (EACH_TESTED, self.test_lengths[0])):
            if shortest < self.min_length:
                raise ConfigError(f"{self}: {name} must be at least {self.min_length}, got {shortest}.")

    def _range(self, length: int | Sequence[int]) -> tuple[int, int]:
        if isinstance(length, int):
            length = length, length
        if isinstance(length, str) or not isinstance(length, Sequence) or len(length) != 2:
            raise ConfigError(
                f"{self}: dataset.length must be one whole number or [shortest, longest], got {length!r}."
            )
        for end in length:
            checks.positive(self, maximum=MAX_LENGTH, length=end)
        shortest, longest = length
        if shortest > longest:
            raise ConfigError(
                f"{self}: the trained lengths [{shortest}, {longest}] are an empty range; "
                f"set dataset.length=[{longest},{shortest}]."
            )
        return shortest, longest

    def _tested(self, lengths: Sequence[int] | None) -> list[int]:
        if lengths is None:
            further = (round(multiple * self.length[1]) for multiple in MULTIPLES)
            return sorted({self.length[1], *(tested for tested in further if tested <= self.max_length)})
        if isinstance(lengths, str) or not isinstance(lengths, Sequence):
            raise ConfigError(f"{self}: dataset.test_lengths must be a list, got {lengths!r}; write [{lengths}].")
        if not lengths:
            raise ConfigError(
                f"{self}: dataset.test_lengths is empty; list a length, or write null for the default ones."
            )
        for tested in lengths:
            checks.positive(str(self), maximum=MAX_LENGTH, **{EACH_TESTED: tested})
        return sorted(set(lengths))

    @property
    def longest(self) -> int:
        """The longest length of a run, in training or testing."""
        return max(self.length[1], *self.test_lengths)

    def __str__(self) -> str:
        return type(self).__name__

    def check_mask(self, causal: bool) -> None:
        """Raise ConfigError if under this mask a model would see the answers, or could not know them."""
        if self.needs_causal is None or causal == self.needs_causal:
            return
        other = str(causal).lower()
        fit = f"set model.causal={str(self.needs_causal).lower()}"
        if type(self).needs_causal is None:
            fit += f", or dataset.causal={other} for the variant with this mask"
        if causal:
            raise ConfigError(f"{self} asks tokens about the whole sequence, which a causal model has not seen; {fit}.")
        raise ConfigError(f"{self}: a model without a causal mask reads the answers in later tokens; {fit}.")

    def split(self, name: str) -> "Task":
        """The task on split `name` (train, validation or test). Synthetic tasks have one law for all three."""
        return self

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Int[Tensor, "B N"], Int[Tensor, "B *N"]]:
        """`batch` sequences of `length` items, and the target of each sequence, (B,), or of each token, (B, N)."""
        raise NotImplementedError

    def tokens(self, length: int) -> int:
        """How many tokens a sequence of `length` items has. A task may need more than one token for an item."""
        return self.sample(Generator().manual_seed(0), 1, length)[0].shape[1]

    def order_blind_ceiling(self, length: int) -> float | None:
        """The best expected accuracy of any model that is blind to order; None: unknown.

        Such a model sees the bag of tokens. If `readout` is last or per_token, it also sees the token at which it
        answers. `blind_masks` says under which masks this ceiling holds, and `ceilings` applies it.
        """
        return 1.0 if self.determined_by == "bag" else None

    def order_aware_ceiling(self, length: int) -> float | None:
        """The best expected accuracy of any model; None: unknown."""
        return None if self.determined_by is None else 1.0

    def ceilings(
        self, length: int, *, causal: bool | None = None, readout: str | None = None, window: int | None = None
    ) -> tuple[float | None, float | None]:
        """(order-blind, order-aware) ceiling for a model with this mask, read-out and window.

        If `causal` or `readout` is None, the task's own value counts. If `window` is None, there is no window.

        The order-blind ceiling is None, and skill undefined, if a model without encoding is not blind to order. This is
        so in three cases: the mask is not in `blind_masks`; the mask is causal and the read-out is the mean (the bags
        of earlier tokens show the order); there is a window. Two equal ceilings are always given, because then the bag
        determines the answer.
        """
        task = copy(self)
        task.readout = self.readout if readout is None else readout
        causal = self.causal if causal is None else causal
        blind, aware = task.order_blind_ceiling(length), self.order_aware_ceiling(length)
        sees_order = causal not in self.blind_masks or (causal and task.readout == "mean") or window is not None
        return (None if sees_order and blind != aware else blind), aware

    def sources(self, tokens: Int[Tensor, "B N"]) -> Int[Tensor, "B N"] | None:
        """The key that each query must read to know the answer; −1: no question. None: the answer is not at one key."""
        return None

    def references(self) -> dict[str, float]:
        """Other numbers to compare a result with, by name."""
        return {}


def skill(accuracy: float, blind: float | None, aware: float | None) -> float | None:
    """(accuracy − blind) / (aware − blind): 0 for the best order-blind model, 1 for the best model; not clipped."""
    if blind is None or aware is None or aware <= blind:
        return None
    return (accuracy - blind) / (aware - blind)
