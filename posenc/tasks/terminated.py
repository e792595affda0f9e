"""Outputs of different lengths in one batch: each ends with a token of its own, and nothing is asked after it."""

import torch
from torch import Generator, Tensor

from posenc.tasks.base import IGNORE
from posenc.tasks.transduction import TransductionTask

END = 2
"""The token after a binary output."""


class TerminatedTask(TransductionTask):
    """An output over {0, 1}, then END, then zeros up to `output_length(n)`.

        tokens    x1 x2 x3  _  _  _  _        y = 1 0, END
        targets    –  –  –  1  0  2  –

    Source: Delétang et al. 2023 (https://arxiv.org/abs/2207.02098), who count accuracy up to END as here, but also
    train on the zeros after it, which this does not.
    """

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        tokens, targets = super().sample(generator, batch, length)
        output = targets[:, length:]
        output[(output == END).cumsum(1) - (output == END).long() > 0] = IGNORE
        return tokens, targets


def terminate(symbols: Tensor, lengths: Tensor, width: int) -> Tensor:
    """(B, width): the first `lengths` symbols of each row, END, zeros."""
    output = symbols.new_zeros(len(symbols), width)
    output[:, : symbols.shape[1]] = symbols
    places = torch.arange(width)
    output *= places < lengths[:, None]
    return output.scatter_(1, lengths[:, None], END)
