"""Controls: the bag of tokens determines the answer, so no positional encoding can help."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from posenc import checks
from posenc.checks import ConfigError
from posenc.tasks.base import Task


def occurrences(tokens: Tensor, vocab_size: int) -> Tensor:
    """(B, V): the number of occurrences of each value in each sequence."""
    counts = torch.zeros(len(tokens), vocab_size, dtype=torch.int64)
    return counts.scatter_add_(1, tokens, torch.ones_like(tokens))


@dataclass(kw_only=True, eq=False, repr=False)
class Majority(Task):
    """Which value is the most frequent?

        2 0 1 2 3 2 0 2    → 2 (four times; no other occurs as often)

    Law: tokens are uniform and independent over V values, given that no two values share the largest count (a sequence
    with a tie is drawn again). So the classes are uniform. Source: the majority language of Merrill et al. 2022
    (https://arxiv.org/abs/2106.16213), with V values where theirs has two. Random guess: 1/V.

    This task is a control: a model that is blind to order can answer everything, so skill is undefined. If an encoding
    changes the accuracy here, the reason is not order.
    """

    published = (
        "one layer of saturated attention recognises it (Merrill et al. 2022). Nothing that we know of about encodings."
    )

    vocab_size: int = 4

    determined_by = "bag"  # there are no ties

    def __post_init__(self) -> None:
        checks.positive(self, minimum=2, vocab_size=self.vocab_size)
        self.num_outputs = self.vocab_size
        super().__post_init__()

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        V = self.vocab_size
        tokens, targets = np.empty((batch, length), dtype=np.int64), np.empty(batch, dtype=np.int64)
        open_ = np.arange(batch)  # sequences that have no majority yet
        while len(open_):
            drawn = torch.randint(V, (len(open_), length), generator=generator)
            counts = occurrences(drawn, V).numpy()
            tokens[open_], targets[open_] = drawn.numpy(), counts.argmax(1)
            # Without a tie the first largest count is also the last largest count.
            open_ = open_[targets[open_] != V - 1 - counts[:, ::-1].argmax(1)]
        return torch.from_numpy(tokens), torch.from_numpy(targets)


@dataclass(kw_only=True, eq=False, repr=False)
class Histogram(Task):
    """For every token: how often does its value occur in the sequence?

        tokens    7  4  9  9  3
        answer    1  1  2  2  1    as classes 0 0 1 1 0; class c is c + 1 times, the last class "or more"

    Law: tokens are uniform and independent over V values. There are K classes, and the last one means K or more
    occurrences. Source: `hist` of Weiss et al. 2021 (https://arxiv.org/abs/2106.06981), here with K classes in place of
    numbers. Random guess: 1/K. The most frequent class alone is right more often, because count − 1 is
    binomial(n − 1, 1/V).

    This task is a control: a token and the bag determine the answer, so skill is undefined. If an encoding changes the
    accuracy here, the reason is not order. The question is about the whole sequence, so a causal model cannot answer.
    """

    published = (
        "a short program of attention steps solves it, and transformers can be trained to follow it (Weiss et al. "
        "2021). Nothing that we know of about encodings."
    )

    vocab_size: int = 20
    num_classes: int = 8
    readout: str = "per_token"

    per_token = True
    determined_by = "bag"  # and by the token
    needs_causal = False

    def __post_init__(self) -> None:
        checks.positive(self, minimum=2, vocab_size=self.vocab_size, num_classes=self.num_classes)
        if self.causal:
            raise ConfigError(
                f"{self} asks every token about the whole sequence, which a causal model has not seen; "
                "set dataset.causal=false."
            )
        self.num_outputs = self.num_classes
        super().__post_init__()

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        tokens = torch.randint(self.vocab_size, (batch, length), generator=generator)
        counts = occurrences(tokens, self.vocab_size).gather(1, tokens)
        return tokens, counts.clamp_(max=self.num_outputs) - 1
