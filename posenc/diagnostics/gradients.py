"""Gradients in a stack of blocks, after a backward pass."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posenc.attention.layer import SelfAttention
from posenc.model.encoder import Encoder

MATRICES = ("query", "key", "value", "output", "mlp_in", "mlp_out")


def gradient_norms(encoder: Encoder) -> list[dict[str, float]]:
    """g = ‖∂loss/∂W‖_F of each block's matrices, first block first: query, key, value, output, and the MLP's two.

    Xiong et al. 2020 (https://arxiv.org/abs/2002.04745): at initialisation, `mlp_out` of the last block is O(d√(ln d))
    with post-norm at every depth L, and O(d√(ln d / L)) with pre-norm. Noci et al. 2022
    (https://arxiv.org/abs/2206.03126): under rank collapse, query and key get no gradient, but value and output do.
    """
    gradients = [dict(_block(block)) for block in encoder.blocks]
    norms = torch.stack([gradient.norm() for block in gradients for gradient in block.values()])
    values = iter(norms.tolist())  # one transfer from the device for all matrices
    return [dict(zip(block, values, strict=False)) for block in gradients]


def _block(block: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for branch in block.branches:  # pyright: ignore[reportGeneralTypeIssues]
        if isinstance(branch, SelfAttention):
            yield from zip(MATRICES, (*_of(branch.qkv).split(branch.sizes), _of(branch.out)), strict=False)
        else:
            yield from zip(MATRICES[4:], (_of(branch[0]), _of(branch[2])), strict=True)


def _of(layer: nn.Module) -> Tensor:
    gradient = layer.weight.grad
    assert isinstance(gradient, Tensor), "gradients are measured after backward()"
    return gradient


def stream_gradients(streams: Sequence[Float[Tensor, "B N D"]]) -> Float[Tensor, " L1"]:
    """‖∂loss/∂h_l‖_F / ‖∂loss/∂h_L‖_F for l = 0..L, from the residuals of `capture`. 1: no gradient is lost."""
    gradients = [stream.grad for stream in streams]
    norms = torch.stack([gradient.norm() for gradient in gradients if gradient is not None])
    assert len(norms) == len(streams), "gradients are measured after backward()"
    return norms / norms[-1]
