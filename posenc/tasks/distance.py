"""The distance of two marked tokens, and which of them is on the left."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from posenc import checks
from posenc.tasks.base import MAX_LENGTH
from posenc.tasks.places import MarkedPair


class _Binned(MarkedPair):
    """The class is the bin of the markers' distance. The longest trained length n defines the `bins` of all lengths.

    first(c) = 1 + ⌈c (n − 1) / B⌉, so a distance has the same class at every length. The last bin also has all greater
    distances.
    """

    bins: int

    def ends(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """The distances first(c) .. last(c) of each bin that is possible at this length."""
        B = self.bins
        first = 1 + (np.arange(B) * (self.length[1] - 1) + B - 1) // B
        last = np.append(first[1:] - 1, MAX_LENGTH)
        shown = first < length
        return first[shown], np.minimum(last[shown], length - 1)

    def interval(self, generator: Generator, bin_: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
        """A distance, uniform within its bin, and the position of the left marker, uniform among those that fit."""
        low, high = (each[bin_] for each in self.ends(length))
        uniform = torch.rand(2, len(bin_), generator=generator, dtype=torch.float64).numpy()
        distance = low + (uniform[0] * (high + 1 - low)).astype(np.int64)
        return distance, (uniform[1] * (length - distance)).astype(np.int64)

    def right_at_the_end(self, length: int) -> np.ndarray:
        """P(the last token is the right marker | bin): the mean of 1/(n − d) over the bin's distances d."""
        low, high = self.ends(length)
        sums = np.concatenate(([0.0], np.cumsum(1 / np.arange(1, length))))  # [m]: Σ of 1/k, k ≤ m
        return (sums[length - low] - sums[length - 1 - high]) / (high + 1 - low)


@dataclass(kw_only=True, eq=False, repr=False)
class DistanceDataset(_Binned):
    """The class is the bin of the distance |i − j| between the only 5 and the only 8.

        trained at length 11, 5 classes, bins {1,2} {3,4} {5,6} {7,8} {9,10}

        2 5 0 9 8 1 1 3 0 2 7     5 at place 1, 8 at place 4: distance 3 → class 1

    Law: the class is uniform, the distance is uniform within its bin, the place of the left marker is uniform among
    those that fit, and either marker is left with probability ½; the background is uniform over the other tokens.
    Distance d belongs to bin min(K − 1, ⌊(d − 1)·K / (n − 1)⌋) for the longest trained length n, so longer sequences
    add distances to the last bin, and shorter ones have fewer classes. Random guess: 1/K.
    The note from which posenc started allowed more markers and equal places. So its order-blind ceiling was 31.4 %, not
    1/K, and no model could exceed 50.5 %.
    """

    published = "nothing that we know of; posenc's own."

    num_classes: int = 5

    def __post_init__(self) -> None:
        checks.positive(self, minimum=2, num_classes=self.num_classes)
        self.num_outputs, self.bins, self.min_length = self.num_classes, self.num_classes, self.num_classes + 1
        super().__post_init__()

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        targets = torch.randint(len(self.ends(length)[0]), (batch,), generator=generator)
        distance, left = self.interval(generator, targets.numpy(), length)
        tokens = self.background(generator, batch, length)
        eight_left = torch.randint(2, (batch,), generator=generator).numpy()
        return self.mark(tokens, left + distance * eight_left, left + distance * (1 - eight_left)), targets

    def at_the_end(self, length: int) -> np.ndarray:
        return np.repeat(self.right_at_the_end(length)[:, None] / 2, 2, axis=1)  # either marker, with probability ½


@dataclass(kw_only=True, eq=False, repr=False)
class SignedDistance(_Binned):
    """The class is the bin of the signed distance j − i from the only 5, at place i, to the only 8, at place j.

        trained at length 11, 4 classes, bins {−10..−6} {−5..−1} {1..5} {6..10}

        2 5 0 9 8 1 1 3 0 2 7     5 at place 1, 8 at place 4: distance +3 → class 2
        2 8 0 9 1 1 1 5 0 2 7     5 at place 7, 8 at place 1: distance −6 → class 0

    Law: as in `distance`, but the class also says which marker is left. On each side distance d ≥ 1 belongs to bin
    min(B − 1, ⌊(d − 1)·B / (n − 1)⌋) of B = K/2, for the longest trained length n. Source: `distance`, made asymmetric
    so that a model that is blind to reversal cannot exceed ½. Random guess: 1/K.
    """

    published = "nothing that we know of; posenc's own."

    num_classes: int = 8

    def __post_init__(self) -> None:
        checks.even(self, "has as many bins on either side", num_classes=self.num_classes)
        self.num_outputs, self.bins = self.num_classes, self.num_classes // 2
        self.min_length = self.bins + 1
        super().__post_init__()

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        shown = len(self.ends(length)[0])  # on either side
        targets = self.bins - shown + torch.randint(2 * shown, (batch,), generator=generator)
        side = targets.numpy() - self.bins
        eight_right = side >= 0
        bin_ = np.where(eight_right, side, -1 - side)
        distance, left = self.interval(generator, bin_, length)
        tokens = self.background(generator, batch, length)
        return self.mark(tokens, left + distance * ~eight_right, left + distance * eight_right), targets

    def at_the_end(self, length: int) -> np.ndarray:
        return np.kron(np.eye(2), self.right_at_the_end(length)[:, None])  # first the classes with the 5 on the right

    def references(self) -> dict[str, float]:
        """distance_only: the best accuracy of a rule that sees only |j − i|."""
        return {"distance_only": 0.5}
