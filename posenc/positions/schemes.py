"""Position schemes, which give tokens their positions. Any scheme can be combined with any encoding."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from posenc import checks
from posenc.checks import ConfigError, UndefinedAtLength
from posenc.positions.positions import Positions
from posenc.streams import generator

Length = int | Sequence[int]
"""A length in tokens: a number, or [shortest, longest]."""

MAX_POSITION = 2**24
"""The largest position that a scheme may draw: float32 represents all whole numbers up to it."""


class OriginalLength:
    """Base class of schemes and encodings that need L, the length of training.

    original_length  L. For an encoding it is the limit of the trained positions (`PositionScheme.reach`); otherwise the
                     tokens of the longest training sequence, with the read-out's query token. It may exceed
                     `dataset.length`, which counts the items of a task. None: `trained_at` sets it before training
    """

    original_length: int | None = None

    def _set(self, original_length: Length | None) -> None:
        """Set L; of a range the longest. Raises ConfigError if it is no length."""
        ends: Any = original_length
        longest: Any = ends[-1] if isinstance(ends, list | tuple) and ends else ends
        if longest is not None:
            checks.positive(self, original_length=longest)
        self.original_length = longest

    def trained_at(self, length: int) -> None:
        """Set L to `length`, unless L is known."""
        if self.original_length is None:
            self._set(length)

    @property
    def trained(self) -> int:
        """L. Raises ConfigError if it is unknown."""
        if self.original_length is None:
            raise ConfigError(f"{type(self).__name__}: the trained length is unknown; give original_length in tokens.")
        return self.original_length


class PositionScheme:
    """Gives the tokens of a sequence their positions. The base class is the scheme `contiguous`: 0, 1, ..., N − 1.

    A scheme that draws positions in training uses torch's default generator, which training seeds from (seed, step).
    """

    def __call__(self, tokens: Int[Tensor, "B N"], *, training: bool, extra: int = 0) -> Positions:
        """Positions of the tokens and of `extra` more after them (the read-out's query token)."""
        return Positions.arange(tokens.shape[1] + extra, tokens.device)

    def reach(self, length: int) -> int:
        """L: the positions of training sequences of up to `length` tokens are below it."""
        return length

    def trained_at(self, length: int) -> None:
        """Take the number of tokens of the longest training sequence, with the read-out's query token."""


class WithinNumber(PositionScheme):
    """The index inside a number: 1, 2, ... along each run of digits, 0 at every other token.

        token     7 3 + 1 2 5 =          (digits 0 to 9)
        position  1 2 0 1 2 3 0          in training + k, k ~ U{0, ..., max_offset}, where it is not 0

    Abacus, McLeish et al. 2024 (https://arxiv.org/abs/2405.17399), with one k for each batch as in the authors' code,
    so that a table learns rows for longer numbers than those in training. With the least significant digit first,
    digits of equal place have equal positions, as in position coupling (Cho et al. 2024,
    https://arxiv.org/abs/2405.20671).

    digits      the tokens that are digits
    max_offset  the largest k
    """

    def __init__(self, digits: Sequence[int], max_offset: int = 99) -> None:
        checks.positive(self, minimum=0, maximum=MAX_POSITION, max_offset=max_offset)
        if not isinstance(digits, Sequence) or isinstance(digits, str):
            raise ConfigError(f"{type(self).__name__}: digits must be a list of tokens, got {digits!r}.")
        for digit in digits:
            checks.positive(self, minimum=0, digits=digit)
        self.digits, self.max_offset = sorted(set(digits)), max_offset

    def __call__(self, tokens: Int[Tensor, "B N"], *, training: bool, extra: int = 0) -> Positions:
        """Positions of the tokens, and 0 for `extra` more after them."""
        inside = torch.isin(tokens, torch.tensor(self.digits, device=tokens.device))
        order = torch.arange(1, tokens.shape[1] + 1, device=tokens.device)
        ids = order - (order * ~inside).cummax(1).values  # distance from the last token that is not a digit
        span = int(ids.max()) + 1 if ids.numel() else 1  # the longest number decides, not the sequence
        if training:
            ids = ids + int(torch.randint(self.max_offset + 1, ())) * inside
            span += self.max_offset
        return Positions(torch.nn.functional.pad(ids, (0, extra)), span=span, known=True)

    def reach(self, length: int) -> int:
        """1 + the position of the last digit of a number of `length` digits, with the largest k."""
        return length + 1 + self.max_offset


class RandomizedPositions(PositionScheme):
    """A sorted random subset p_1 < p_2 < ... < p_N of 0 .. span − 1, drawn again for each training batch.

    Ruoss et al. 2023 (https://arxiv.org/abs/2305.16843): training uses every position up to `span`, so longer inputs
    have no new positions. `at_test`: `even` spreads the ids evenly over the span; `random`, as in the paper, draws them
    as in training, but always the same ids for a length. A table needs encoding.max_length ≥ span; a relative one has
    2·span − 1 distances. Deviation: a distance is the difference of two ids, so queries of a sequence see different
    distances. For Transformer-XL and ALiBi, the authors' code
    (https://github.com/google-deepmind/randomized_positional_encodings) draws sorted distances, the same for all
    queries.
    """

    def __init__(self, span: int = 512, at_test: str = "random") -> None:
        checks.positive(self, maximum=MAX_POSITION, span=span)
        checks.one_of(self, ("even", "random"), at_test=at_test)
        self.span, self.at_test = span, at_test

    def __call__(self, tokens: Int[Tensor, "B N"], *, training: bool, extra: int = 0) -> Positions:
        """One subset for the whole batch."""
        length = tokens.shape[1] + extra
        if length > self.span:
            raise UndefinedAtLength(
                f"{type(self).__name__}: span {self.span} is below length {length}; raise positions.span."
            )
        if not training and self.at_test == "even":
            ids = torch.linspace(0, self.span - 1, length, dtype=torch.float64).round().long()
        else:
            stream = None if training else generator(0, f"positions/{self.span}/{length}")
            ids = torch.randperm(self.span, generator=stream)[:length].sort().values
        return Positions(ids[None].to(tokens.device), span=self.span, known=True)

    def reach(self, length: int) -> int:
        """The span, at every length."""
        return self.span


class ShiftedPositions(PositionScheme):
    """k, k + 1, ..., k + N − 1 with k ~ U{0, ..., max_shift} for each training sequence; k = 0 at test.

    SHAPE, Kiyono et al. 2021 (https://arxiv.org/abs/2109.05644): an absolute encoding learns to ignore where a sequence
    starts, and trains positions above the trained length.
    """

    def __init__(self, max_shift: int = 100) -> None:
        checks.positive(self, minimum=0, maximum=MAX_POSITION, max_shift=max_shift)
        self.max_shift = max_shift

    def __call__(self, tokens: Int[Tensor, "B N"], *, training: bool, extra: int = 0) -> Positions:
        """One shift for each sequence."""
        length = tokens.shape[1] + extra
        ids = torch.arange(length, device=tokens.device)[None]
        if training:
            ids = ids + torch.randint(self.max_shift + 1, (len(tokens), 1)).to(tokens.device)
        return Positions(ids, span=length + self.max_shift, consecutive=True, known=True)

    def reach(self, length: int) -> int:
        """`length` plus the largest shift."""
        return length + self.max_shift


class ScaledPositions(OriginalLength, PositionScheme):
    """p · min(1, L / N): the positions of a longer sequence are scaled into those of the trained length L.

    Position interpolation, Chen et al. 2023 (https://arxiv.org/abs/2306.15595), for any encoding; learned tables are
    interpolated between rows. Up to L nothing changes. N and L include the read-out's query token.
    """

    def __init__(self, original_length: Length | None = None) -> None:
        self._set(original_length)

    def __call__(self, tokens: Int[Tensor, "B N"], *, training: bool, extra: int = 0) -> Positions:
        """Positions in [0, L)."""
        length = tokens.shape[1] + extra
        ids = torch.arange(length, device=tokens.device)[None]
        scale = min(1.0, self.trained / length)
        return Positions(ids, span=length, scale=scale, consecutive=True, known=True)
