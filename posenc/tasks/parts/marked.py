"""One 5 and one 8 among tokens that are neither."""

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from posenc.tasks.base import Task

MARKERS = (5, 8)


@dataclass(kw_only=True, eq=False, repr=False)
class MarkedPair(Task):
    """One 5 and one 8 among tokens that are neither; a subclass says where they stand.

    The background is uniform and independent over the other values, so the bag (one 5, one 8, a background) has the
    same law in every class. A subclass sets `num_outputs` and `min_length`.
    """

    vocab_size: int = 20

    determined_by = "sequence"  # each marked value occurs once, so its place can be read off

    def __post_init__(self) -> None:
        self.check_vocabulary(max(MARKERS) + 1, f"the marked values are {MARKERS[0]} and {MARKERS[1]}")
        super().__post_init__()
        self._others = np.delete(np.arange(self.vocab_size), MARKERS)

    def background(self, generator: Generator, batch: int, length: int) -> np.ndarray:
        """(batch, length): tokens that are neither."""
        return self._others[torch.randint(len(self._others), (batch, length), generator=generator).numpy()]

    def mark(self, tokens: np.ndarray, first: np.ndarray, second: np.ndarray) -> Tensor:
        """The tokens with the 5 at `first` and the 8 at `second`."""
        rows = np.arange(len(tokens))
        tokens[rows, first], tokens[rows, second] = MARKERS
        return torch.from_numpy(tokens)

    @abstractmethod
    def at_the_end(self, length: int) -> np.ndarray:
        """(C, 2): P(the last token is the 5 | class), and the same of the 8, for the classes at this length."""

    def order_blind_ceiling(self, length: int) -> float:
        """Exactly 1/C, C the classes at this length: the bag has the same law in every class, and they are uniform.

        With the last token, which is the 5, the 8 or neither: the sum of max_c P(it is that | c) over the three, by C.
        """
        marked = self.at_the_end(length)
        if self.readout != "last":
            return 1 / len(marked)
        return float(marked.max(0).sum() + (1 - marked.sum(1)).max()) / len(marked)
