"""How far apart do two marked tokens stand, and which of them is left?"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from posenc import checks
from posenc.tasks.distance import bin_ends, draw_interval, marked_end
from posenc.tasks.parts.marked import MarkedPair


@dataclass(kw_only=True, eq=False, repr=False)
class SignedDistance(MarkedPair):
    """The class is the bin of the signed distance j − i from the only 5, at place i, to the only 8, at place j.

        trained at length 11, 4 classes, bins {−10..−6} {−5..−1} {1..5} {6..10}

        2 5 0 9 8 1 1 3 0 2 7     5 at place 1, 8 at place 4: distance +3 → class 2
        2 8 0 9 1 1 1 5 0 2 7     5 at place 7, 8 at place 1: distance −6 → class 0

    Law: that of `distance` with the side as part of the class: the class is uniform, then the distance uniform within
    its bin, then the place of the left marker uniform among those that fit; the background is uniform over the other
    tokens. On each side distance d ≥ 1 belongs to bin min(B − 1, ⌊(d − 1)·B / (n − 1)⌋) of B = K/2, n the longest
    training length, at every length. Source: `distance`, made asymmetric so that a model blind to reversal cannot pass
    ½. Random guess: 1/K.

    Published: nothing that we know of; posenc's own.
    """

    num_classes: int = 8

    def __post_init__(self) -> None:
        checks.even(self, "has as many bins on either side", num_classes=self.num_classes)
        self.num_outputs, self.min_length = self.num_classes, self.num_classes // 2 + 1
        super().__post_init__()

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        bins, ends = self.num_outputs // 2, self._ends(length)
        shown = len(ends[0])  # on either side
        targets = bins - shown + torch.randint(2 * shown, (batch,), generator=generator)
        side = targets.numpy() - bins
        eight_right = side >= 0
        bin_ = np.where(eight_right, side, -1 - side)
        distance, left = draw_interval(generator, bin_, ends, length)
        tokens = self.background(generator, batch, length)
        return self.mark(tokens, left + distance * ~eight_right, left + distance * eight_right), targets

    def _ends(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        return bin_ends(self.num_outputs // 2, self.length[1], length)

    def at_the_end(self, length: int) -> np.ndarray:
        marked = marked_end(self._ends(length), length)
        return np.stack((np.append(marked, 0 * marked), np.append(0 * marked, marked)), axis=1)

    def references(self) -> dict[str, float]:
        """distance_only: the best accuracy of a rule that sees |j − i| and nothing else."""
        return {"distance_only": 0.5}
