"""From a sequence to a sequence: one law, posed to an encoder with slots or causally with teacher forcing."""

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

        causal: false    tokens   x1 x2 x3  _  _  _     an answer at each slot; _ is the token after the alphabet
                         targets   –  –  – y1 y2 y3

        causal: true     tokens   x1 x2 x3  _ y1 y2     teacher forcing: each output symbol follows the ones before
                         targets   –  –  – y1 y2 y3

    `length` is n; the model reads n + m tokens. The first is the set-up of Ruoss et al. 2023
    (https://arxiv.org/abs/2305.16843), the second of Kazemnejad et al. 2023 (https://arxiv.org/abs/2305.19466). Exact
    match under teacher forcing equals exact match of greedy decoding: as long as every symbol so far was right, both
    have read the same tokens, and at the first wrong one both have failed.

    Ceilings are of accuracy a symbol. With slots an order-blind model gives one answer in all of them, for they look
    alike. Under teacher forcing it sees, at each symbol asked for, the bag of the input, the bag of the outputs so far
    and the token just read; a task whose ceiling depends on that says so. A subclass sets `num_outputs`, the alphabet.
    """

    vocab_size: int = field(init=False)
    readout: str = "per_token"

    extra = 1
    """Tokens beside the alphabet: the slot, which is the first of them, and what an input has more."""
    per_token = True
    determined_by = "sequence"  # the output is a function of the input

    def __post_init__(self) -> None:
        self.vocab_size = self.num_outputs + self.extra
        super().__post_init__()
        self.needs_causal = True if self.causal else None
        self.blind_masks = (self.causal,)  # slots under a causal mask are told apart by how many came before
        read = self.longest + self.output_length(self.longest)
        if read > MAX_LENGTH:
            raise ConfigError(
                f"{self}: at length {self.longest} there are {read} tokens to read; at most {MAX_LENGTH} are possible."
            )

    def output_length(self, length: int) -> int:
        """m, for an input of n symbols; n unless the task says otherwise."""
        return length

    @abstractmethod
    def pairs(self, generator: Generator, batch: int, length: int) -> tuple[Int[Tensor, "B n"], Int[Tensor, "B m"]]:
        """`batch` inputs of `length` symbols and their outputs; IGNORE where nothing is asked, which is read as 0."""

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        """The pairs as tokens and targets, (B, n + m) each."""
        x, y = self.pairs(generator, batch, length)
        slots = torch.full_like(y, self.num_outputs)
        if self.causal:
            torch.clamp(y[:, :-1], min=0, out=slots[:, 1:])
        return torch.cat((x, slots), dim=1), torch.cat((torch.full_like(x, IGNORE), y), dim=1)


def terminate(symbols: Tensor, lengths: Tensor, width: int) -> Tensor:
    """(B, width): the first `lengths` symbols of each row, END, and nothing to ask after it.

        tokens    x1 x2 x3  _  _  _  _        y = 1 0, END
        targets    –  –  –  1  0  2  –

    Source: Delétang et al. 2023 (https://arxiv.org/abs/2207.02098), who count accuracy up to END as here, but also
    train on the zeros after it, which this does not.
    """
    B, W = symbols.shape
    ends = lengths.numpy()[:, None]
    output = np.empty((B, width), dtype=np.int64)
    output[:, :W] = symbols.numpy()
    places = np.arange(width)
    output[places == ends] = END
    output[places > ends] = IGNORE
    return torch.from_numpy(output)
