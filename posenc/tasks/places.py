"""Questions about the places of marked values. The bag of tokens does not help."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from posenc import checks
from posenc.checks import ConfigError
from posenc.tasks.base import MAX_LENGTH, Task

MARKED_VALUES = (5, 8)


@dataclass(kw_only=True, eq=False, repr=False)
class MarkedPair(Task):
    """One 5 and one 8 in a background; a subclass chooses their places, and sets `num_outputs` and `min_length`.

    The background is uniform and independent over the other values, so the bag has the same law in every class.
    """

    vocab_size: int = 20

    determined_by = "sequence"  # each marked value occurs once

    def __post_init__(self) -> None:
        why = f"the marked values are {MARKED_VALUES[0]} and {MARKED_VALUES[1]}"
        checks.at_least(self, max(MARKED_VALUES) + 1, why, vocab_size=self.vocab_size)
        super().__post_init__()
        self._others = np.delete(np.arange(self.vocab_size), MARKED_VALUES)

    def background(self, generator: Generator, batch: int, length: int) -> np.ndarray:
        """(batch, length): tokens that are neither 5 nor 8."""
        return self._others[torch.randint(len(self._others), (batch, length), generator=generator).numpy()]

    def mark(self, tokens: np.ndarray, first: np.ndarray, second: np.ndarray) -> Tensor:
        """The tokens with the 5 at `first` and the 8 at `second`."""
        rows = np.arange(len(tokens))
        tokens[rows, first], tokens[rows, second] = MARKED_VALUES
        return torch.from_numpy(tokens)

    @abstractmethod
    def at_the_end(self, length: int) -> np.ndarray:
        """(C, 2): P(the last token is the 5 | class) and P(the last token is the 8 | class)."""

    def order_blind_ceiling(self, length: int) -> float:
        """Exactly 1/C for C classes, because they are uniform and the bag has the same law in all.

        If the model sees the last token: the sum of max_c P(last token | c) / C over its three cases (5, 8, neither).
        """
        marked = self.at_the_end(length)
        if self.readout != "last":
            return 1 / len(marked)
        return float(marked.max(0).sum() + (1 - marked.sum(1)).max()) / len(marked)


@dataclass(kw_only=True, eq=False, repr=False)
class AbsolutePattern(MarkedPair):
    """Which pair of absolute places do the 5 and the 8 have?

        class 0: 5 at 3,  8 at 7       place   0  1  2  3  4  5  6  7  8  9 10 ...
        class 1: 5 at 9,  8 at 13      token  11  0  6  5 17  2 19  8  3  2  1 ...   → class 0
        class 2: 5 at 16, 8 at 20

    Law: the class is uniform over the C pairs in `places`; the background is uniform over the other values. Source: our
    own; unlike in `pattern`, all classes have the same values, so the bag does not show the class. In the default
    places the offset from 5 to 8 is always the same, so only the distance from an end of the sequence shows the class.
    One of the two values is enough to answer. Random guess: 1/C.
    """

    published = "nothing that we know of; posenc's own."

    places: Any = ((3, 7), (9, 13), (16, 20))  # after __post_init__: a tensor (C, 2)

    def __post_init__(self) -> None:
        places = self.places
        if isinstance(places, str) or not isinstance(places, Sequence) or len(places) < 2:
            raise ConfigError(
                f"{self}: dataset.places must list at least two pairs, such as [[3, 7], [9, 13]], got {places}."
            )
        pairs = [tuple(pair) if isinstance(pair, Sequence) else (pair,) for pair in places]
        for pair in pairs:
            for place in pair:
                checks.positive(self, minimum=0, places=place)
            if len(pair) != 2 or pair[0] == pair[1]:
                raise ConfigError(f"{self}: each of dataset.places must be two different places, got {list(pair)}.")
            if pairs.count(pair) > 1:
                raise ConfigError(
                    f"{self}: each class needs a different pair, got {list(pair)} twice; change dataset.places."
                )
        self.places = torch.tensor(pairs)
        self.num_outputs, self.min_length = len(pairs), 1 + int(self.places.max())
        super().__post_init__()

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        targets = torch.randint(self.num_outputs, (batch,), generator=generator)
        first, second = self.places[targets].numpy().T
        return self.mark(self.background(generator, batch, length), first, second), targets

    def at_the_end(self, length: int) -> np.ndarray:
        return (self.places == length - 1).double().numpy()

    def references(self) -> dict[str, float]:
        """offset_only: the best accuracy of a rule that sees only the offset from 5 to 8."""
        return {"offset_only": len((self.places[:, 1] - self.places[:, 0]).unique()) / self.num_outputs}


@dataclass(kw_only=True, eq=False, repr=False)
class RelativePattern(MarkedPair):
    """Which offset does the 8 have from the 5?

        offsets −2, −1, +1, +2

        2 8 0 5 9 1 1 3    5 at place 3, 8 at place 1: offset −2 → class 0
        2 7 0 4 9 5 8 3    5 at place 5, 8 at place 6: offset +1 → class 2

    Law: the class is uniform over the C values in `offsets`, the place of the pair is uniform among those that fit, the
    background is uniform over the other values. Source: our own. One of the two absolute places helps only near the
    ends of the sequence. Random guess: 1/C.
    """

    published = "nothing that we know of; posenc's own."

    offsets: Any = (-2, -1, 1, 2)  # after __post_init__: a tensor

    def __post_init__(self) -> None:
        offsets = self.offsets
        if isinstance(offsets, str) or not isinstance(offsets, Sequence) or len(offsets) < 2:
            raise ConfigError(
                f"{self}: dataset.offsets must list at least two whole numbers, such as [-1, 1], got {offsets}."
            )
        for offset in offsets:
            checks.positive(self, minimum=-MAX_LENGTH, maximum=MAX_LENGTH, offsets=offset)
            if offset == 0 or offsets.count(offset) > 1:
                raise ConfigError(
                    f"{self}: dataset.offsets must be different whole numbers other than 0, got {offset} in "
                    f"{list(offsets)}."
                )
        self.offsets = torch.tensor(offsets)
        self.num_outputs, self.min_length = len(offsets), 1 + int(self.offsets.abs().max())
        super().__post_init__()

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        targets = torch.randint(self.num_outputs, (batch,), generator=generator)
        offset = self.offsets[targets].numpy()
        uniform = torch.rand(batch, generator=generator, dtype=torch.float64).numpy()
        left = (uniform * (length - np.abs(offset))).astype(np.int64)
        first = left - np.minimum(offset, 0)
        return self.mark(self.background(generator, batch, length), first, first + offset), targets

    def at_the_end(self, length: int) -> np.ndarray:
        marked = 1 / (length - self.offsets.abs().double().numpy())
        return np.stack((marked * (self.offsets.numpy() < 0), marked * (self.offsets.numpy() > 0)), axis=1)

    def references(self) -> dict[str, float]:
        """distance_only: the best accuracy of a rule that sees only |offset|, such as a symmetric bias."""
        return {"distance_only": len(self.offsets.abs().unique()) / self.num_outputs}


@dataclass(kw_only=True, eq=False, repr=False)
class FirstOf(Task):
    """Which of K marked values occurs first?

        K = 4: the marked values are 0 to 3

        9 6 2 7 7 0 5 3 8 1    → 2

    Law: the marked values occur once each, at uniformly random different places; the background is uniform over the
    values K and above. So all orders of the marked values are equally likely. Source: our own. Random guess: 1/K.
    """

    published = "nothing that we know of; posenc's own."

    vocab_size: int = 20
    num_classes: int = 4

    determined_by = "sequence"  # each marked value occurs once

    def __post_init__(self) -> None:
        K = self.num_classes
        checks.positive(self, minimum=2, num_classes=K)
        why = f"{K} values are marked and at least one must be left for the background"
        checks.at_least(self, K + 1, why, vocab_size=self.vocab_size)
        self.num_outputs = self.min_length = K
        super().__post_init__()

    def answer(self, places: Tensor) -> Tensor:
        """(B,): the class, from the places (B, K) of the marked values."""
        return places.argmin(1)

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        K = self.num_outputs
        tokens = torch.randint(K, self.vocab_size, (batch, length), generator=generator)
        # The K largest of independent draws, in order of size, are K different places in a uniformly random order.
        draws = torch.rand(batch, length, generator=generator, dtype=torch.float64)
        places = draws.topk(K, dim=1).indices
        return tokens.scatter(1, places, torch.arange(K).expand_as(places)), self.answer(places)

    def order_blind_ceiling(self, length: int) -> float:
        """Exactly 1/K, because all orders of a bag are equally likely.

        If the model sees the last token, this is a marked value with probability K/n. That value is not the first one,
        so the best guess is right with probability 1/(K − 1).
        """
        return self._blind(length, 1 / (self.num_outputs - 1))

    def _blind(self, length: int, marked_last: float) -> float:
        """1/K, or `marked_last` if the model sees the last token and it is a marked value."""
        K = self.num_outputs
        share = K / length if self.readout == "last" else 0.0
        return (1 - share) / K + share * marked_last


class LastOf(FirstOf):
    """Which of K marked values occurs last?

        K = 4: the marked values are 0 to 3

        9 6 2 7 7 0 5 3 8 1    → 1

    The mirror image of `first_of`, with the same law, source and random guess (1/K). The two differ for causal models.
    """

    published = "nothing that we know of; posenc's own."

    def answer(self, places: Tensor) -> Tensor:
        """(B,): the class, from the places (B, K) of the marked values."""
        return places.argmax(1)

    def order_blind_ceiling(self, length: int) -> float:
        """Exactly 1/K. If the model sees the last token, and this is a marked value, that value is the answer."""
        return self._blind(length, 1.0)
