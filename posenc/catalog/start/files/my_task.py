from dataclasses import dataclass, field

import torch

from posenc import checks
from posenc.tasks.base import Task


@dataclass(kw_only=True, eq=False, repr=False)
class LargestOfFirst(Task):
    """What is the largest of the first `places` tokens?

        places = 3    4 1 6 0 9 2    → 6

    Law: tokens are uniform and independent over `num_values` values. Random guess: 1/num_values.
    """

    published = "nothing that we know of; our own."

    vocab_size: int = field(init=False)  # it follows from num_values and is no option
    num_values: int = 10
    places: int = 3

    determined_by = "sequence"

    def __post_init__(self):
        checks.positive(self, minimum=2, num_values=self.num_values)
        checks.positive(self, places=self.places)
        self.num_outputs = self.vocab_size = self.num_values
        self.min_length = self.places
        super().__post_init__()

    def sample(self, generator, batch, length):
        tokens = torch.randint(self.num_values, (batch, length), generator=generator)
        return tokens, tokens[:, : self.places].amax(1)
