"""How far apart do two marked tokens stand?"""

import numpy as np
import torch
from torch import Generator, Tensor

from posenc import checks
from posenc.checks import ConfigError
from posenc.tasks.base import LONGEST, Task

MARKERS = (5, 8)


def bin_ends(bins: int, trained: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The distances first(c) .. last(c) of each bin that a sequence of `length` tokens can show.

    Bins are those of the trained length n, first(c) = 1 + ⌈c (n − 1) / B⌉, at every length: a distance has one label.
    The last bin holds all greater distances too.
    """
    first = 1 + (np.arange(bins) * (trained - 1) + bins - 1) // bins
    last = np.append(first[1:] - 1, LONGEST)
    shown = first < length
    return first[shown], np.minimum(last[shown], length - 1)


def draw_interval(
    generator: Generator, bin_: np.ndarray, ends: tuple[np.ndarray, np.ndarray], length: int
) -> tuple[np.ndarray, np.ndarray]:
    """A distance, uniform within its bin, and the left end, uniform among those that fit."""
    low, high = (each[bin_] for each in ends)
    uniform = torch.rand(2, len(bin_), generator=generator, dtype=torch.float64).numpy()
    distance = low + (uniform[0] * (high + 1 - low)).astype(np.int64)
    return distance, (uniform[1] * (length - distance)).astype(np.int64)


def marked_end(ends: tuple[np.ndarray, np.ndarray], length: int) -> np.ndarray:
    """P(the last token is the right marker | bin): the mean of 1/(n − d) over the bin's distances d."""
    low, high = ends
    sums = np.concatenate(([0.0], np.cumsum(1 / np.arange(1, length))))  # [m]: Σ of 1/k, k ≤ m
    return (sums[length - low] - sums[length - 1 - high]) / (high + 1 - low)


def mark(tokens: np.ndarray, *places: np.ndarray) -> None:
    """Write the 5 and the 8 of each row to their places."""
    rows = np.arange(len(tokens))
    for marker, place in zip(MARKERS, places, strict=True):
        tokens[rows, place] = marker


class DistanceDataset(Task):
    """The class is the bin of the distance |i − j| between the only 5 and the only 8.

        trained at length 11, 5 classes, bins {1,2} {3,4} {5,6} {7,8} {9,10}

        2 5 0 9 8 1 1 3 0 2 7     5 at place 1, 8 at place 4: distance 3 → class 1

    Law: the class is uniform, then the distance uniform within its bin, then the place of the left marker uniform among
    those that fit, then which marker is left is a coin flip; the background is uniform over the other tokens. Bins are
    as equal as the n − 1 distances of the longest training length n allow, and the same at every length: distance d
    belongs to bin min(K − 1, ⌊(d − 1)·K / (n − 1)⌋), so longer sequences add distances to the last bin, and shorter
    ones show fewer classes. The note that posenc grew from allowed more markers and equal places, so that no model
    could pass 50.5 %, and its order-blind ceiling was 31.4 %, not 1/K.
    Random guess: 1/K.

    Published: nothing that we know of; posenc's own.
    """

    def __init__(
        self,
        length: int | list[int] = 32,
        test_lengths: list[int] | None = None,
        vocab_size: int = 20,
        num_classes: int = 5,
        causal: bool = False,
        readout: str = "mean",
    ) -> None:
        checks.positive(self, minimum=2, num_classes=num_classes)
        checks.positive(self, vocab_size=vocab_size)
        if vocab_size <= max(MARKERS):
            raise ConfigError(
                f"{self}: the markers are {MARKERS[0]} and {MARKERS[1]}, so vocab_size must be at least "
                f"{max(MARKERS) + 1}, got {vocab_size}."
            )
        self.num_outputs = num_classes
        self.min_length = num_classes + 1
        self._background = np.delete(np.arange(vocab_size), MARKERS)
        super().__init__(
            length=length, test_lengths=test_lengths, vocab_size=vocab_size, causal=causal, readout=readout
        )

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        ends = self._ends(length)
        targets = torch.randint(len(ends[0]), (batch,), generator=generator)
        distance, left = draw_interval(generator, targets.numpy(), ends, length)
        tokens = self._background[torch.randint(len(self._background), (batch, length), generator=generator).numpy()]
        eight_left = torch.randint(2, (batch,), generator=generator).numpy()
        mark(tokens, left + distance * eight_left, left + distance * (1 - eight_left))
        return torch.from_numpy(tokens), targets

    def _ends(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        return bin_ends(self.num_outputs, self.length[1], length)

    def order_blind_ceiling(self, length: int) -> float:
        """Exactly 1/K, K the classes at this length: the bag (one 5, one 8, a background) has one law in all of them.

        With the last token: a marker stands there with probability m_c in class c, and which one says nothing, so
        (max m_c + max (1 − m_c)) / K.
        """
        ends = self._ends(length)
        if self.readout != "last":
            return 1 / len(ends[0])
        marked = marked_end(ends, length)
        return float(marked.max() + (1 - marked).max()) / len(marked)

    def order_aware_ceiling(self, length: int) -> float:
        """1: each marker occurs once, so the distance can be read off."""
        return 1.0
