"""Tasks from a sequence to a sequence, for an encoder with slots, or for a causal model with teacher forcing."""

from abc import abstractmethod
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Int
from torch import Generator, Tensor

from posenc.checks import ConfigError
from posenc.tasks.base import IGNORE, MAX_LENGTH, Task

END = 2
"""The token after a binary output."""


@dataclass(kw_only=True, eq=False, repr=False)
class TransductionTask(Task):
    """Input x of n symbols, output y of m = `output_length(n)` symbols, both from an alphabet of `num_outputs` symbols.

        causal: false    tokens   x1 x2 x3  _  _  _     slots: an answer at each _, the token after the alphabet
                         targets   –  –  – y1 y2 y3

        causal: true     tokens   x1 x2 x3  _ y1 y2     teacher forcing: the model reads the right symbols so far
                         targets   –  –  – y1 y2 y3

    `length` is n; the model reads n + m tokens. Slots are the set-up of Ruoss et al. 2023
    (https://arxiv.org/abs/2305.16843), teacher forcing that of Kazemnejad et al. 2023
    (https://arxiv.org/abs/2305.19466). Exact match under teacher forcing equals exact match of greedy decoding: both
    read the same tokens until the first wrong symbol, at which both fail.

    Ceilings are of the accuracy per symbol. With slots an order-blind model gives the same answer in all slots, because
    they look alike. Under teacher forcing it sees the bag of the input, the bag of the outputs so far, and the last
    token. A subclass sets `num_outputs`, the alphabet.
    """

    vocab_size: int = field(init=False)
    readout: str = "per_token"

    extra = 1
    """The number of tokens besides the alphabet: the slot, then other tokens of the input."""
    per_token = True
    determined_by = "sequence"  # the output is a function of the input

    def __post_init__(self) -> None:
        self.vocab_size = self.num_outputs + self.extra
        super().__post_init__()
        self.needs_causal = True if self.causal else None
        self.blind_masks = (self.causal,)  # under a causal mask slots see different numbers of slots
        read = self.longest + self.output_length(self.longest)
        if read > MAX_LENGTH:
            raise ConfigError(
                f"{self}: at length {self.longest} a model reads {read} tokens, but at most {MAX_LENGTH} are possible; "
                "lower dataset.length or dataset.test_lengths."
            )

    def output_length(self, length: int) -> int:
        """m for an input of n = `length` symbols; by default n."""
        return length

    @abstractmethod
    def pairs(self, generator: Generator, batch: int, length: int) -> tuple[Int[Tensor, "B n"], Int[Tensor, "B m"]]:
        """`batch` inputs of `length` symbols and their outputs. An output IGNORE has no question, and is read as 0."""

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        """The pairs as tokens and targets, (B, n + m) each."""
        x, y = self.pairs(generator, batch, length)
        slots = torch.full_like(y, self.num_outputs)
        if self.causal:
            torch.clamp(y[:, :-1], min=0, out=slots[:, 1:])
        return torch.cat((x, slots), dim=1), torch.cat((torch.full_like(x, IGNORE), y), dim=1)


def terminate(symbols: Tensor, lengths: Tensor, width: int) -> Tensor:
    """(B, width): the first `lengths` symbols of each row, then END, then IGNORE.

        tokens    x1 x2 x3  _  _  _  _        y = 1 0, END
        targets    –  –  –  1  0  2  –

    Source: Delétang et al. 2023 (https://arxiv.org/abs/2207.02098), who also count accuracy up to END. Deviation: they
    train on zeros after END too.
    """
    B, W = symbols.shape
    ends = lengths.numpy()[:, None]
    output = np.empty((B, width), dtype=np.int64)
    output[:, :W] = symbols.numpy()
    places = np.arange(width)
    output[places == ends] = END
    output[places > ends] = IGNORE
    return torch.from_numpy(output)
