"""Initialisations of an encoder's projections. Each rescales posenc's own draw from N(0, 1/fan_in)."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from posenc.attention.layer import SelfAttention
from posenc.model.encoder import Encoder


def unit(encoder: Encoder) -> None:
    """N(0, 1/fan_in), posenc's default: inputs of unit variance give outputs of unit variance."""


@torch.no_grad()
def xavier(encoder: Encoder) -> None:
    """N(0, 2/(fan_in + fan_out)), separately for query, key and value.

    Glorot & Bengio 2010 (https://proceedings.mlr.press/v9/glorot10a.html); the theory of Xiong et al. 2020 assumes it.
    """
    for weight, fan_out, _ in _projections(encoder):
        weight *= (2 * weight.shape[1] / (weight.shape[1] + fan_out)) ** 0.5


@torch.no_grad()
def small(encoder: Encoder) -> None:
    """N(0, 0.02²): BERT (https://arxiv.org/abs/1810.04805)."""
    for weight, _, _ in _projections(encoder):
        weight *= 0.02 * weight.shape[1] ** 0.5


@torch.no_grad()
def scaled(encoder: Encoder) -> None:
    """N(0, 1/fan_in), with the last projection of each branch divided by √(2L): GPT-2 (Radford et al. 2019, 2.3)."""
    for weight, _, ends_a_branch in _projections(encoder):
        if ends_a_branch:
            weight /= (2 * len(encoder.blocks)) ** 0.5


INITIALISATIONS: dict[str, Callable[[Encoder], None]] = {each.__name__: each for each in (unit, xavier, small, scaled)}


def _projections(encoder: Encoder) -> Iterator[tuple[Tensor, int, bool]]:
    """(weight, fan_out, whether it is the last of its branch) of every projection in the blocks, without the head."""
    for block in encoder.blocks:
        for branch in block.branches:  # pyright: ignore[reportGeneralTypeIssues]
            if isinstance(branch, SelfAttention):
                first, last = branch.qkv.weight.split(branch.sizes), branch.out.weight
            else:
                first, last = branch[0].weight.chunk(branch.inputs), branch[2].weight
            yield from ((weight, weight.shape[0], False) for weight in first)
            yield last, last.shape[0], True
