"""How far apart do two marked tokens stand?"""

import torch
from torch import Generator, Tensor

from posenc import checks
from posenc.checks import ConfigError
from posenc.tasks.base import Task

MARKERS = (5, 8)


class DistanceDataset(Task):
    """The class is the bin of the distance |i − j| between the only 5 and the only 8.

        length 11, 5 classes, bins {1,2} {3,4} {5,6} {7,8} {9,10}

        2 5 0 9 8 1 1 3 0 2 7     5 at place 1, 8 at place 4: distance 3 → class 1

    Law: the class is uniform, then the distance uniform within its bin, then the place of the left marker uniform among
    those that fit, then which marker is left is a coin flip; the background is uniform over the other tokens. Bins are
    as equal as the n − 1 distances allow: distance d belongs to bin ⌊(d − 1)·K / (n − 1)⌋. The note that posenc grew
    from allowed more markers and equal places, so that no model could pass 50.5 %, and its order-blind ceiling was
    31.4 %, not 1/K.
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
        super().__init__(
            length=length, test_lengths=test_lengths, vocab_size=vocab_size, causal=causal, readout=readout
        )

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        K, distances = self.num_outputs, length - 1
        targets = torch.randint(K, (batch,), generator=generator)
        # Bin c holds the distances first(c) .. first(c + 1) − 1 with first(c) = 1 + ⌈c (n − 1) / K⌉.
        first = 1 + (torch.arange(K + 1) * distances + K - 1) // K
        low, high = first[targets], first[targets + 1]
        uniform = torch.rand(2, batch, generator=generator, dtype=torch.float64)
        distance = low + (uniform[0] * (high - low)).long()
        left = (uniform[1] * (length - distance)).long()
        tokens = torch.randint(self.vocab_size - 2, (batch, length), generator=generator)
        for marker in sorted(MARKERS):
            tokens += tokens >= marker
        order = torch.randint(2, (batch,), generator=generator)
        markers = torch.tensor(MARKERS)
        ends = torch.stack((markers[order], markers[1 - order]), dim=1)
        return tokens.scatter(1, torch.stack((left, left + distance), dim=1), ends), targets

    def order_blind_ceiling(self, length: int) -> float:
        """Exactly 1/K: the bag (one 5, one 8, a uniform background) has the same law in every class."""
        return 1 / self.num_outputs

    def order_aware_ceiling(self, length: int) -> float:
        """1: each marker occurs once, so the distance can be read off."""
        return 1.0
