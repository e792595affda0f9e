"""Outputs of different lengths in one batch: each ends with a token of its own, and nothing is asked after it."""

import numpy as np
import torch
from torch import Tensor

from posenc.tasks.base import IGNORE

END = 2
"""The token after a binary output."""


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
