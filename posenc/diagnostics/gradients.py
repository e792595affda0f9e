"""Where gradients go in a stack of blocks, after a backward pass."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posenc.attention import SelfAttention
from posenc.encoder import Encoder

GROUPS = ("query", "key", "value", "output", "mlp_in", "mlp_out")


def gradient_norms(encoder: Encoder) -> list[dict[str, float]]:
    """g = ‖∂loss/∂W‖_F of each block's matrices, first block first: query, key, value, output, and the MLP's two.

    Xiong et al. 2020 (https://arxiv.org/abs/2002.04745): at the start, `mlp_out` of the last block is O(d√(ln d)) with
    post-norm whatever the depth L, and O(d√(ln d / L)) with pre-norm. Noci et al. 2022
    (https://arxiv.org/abs/2206.03126): where rank collapses, query and key get none while value and output do.
    """
    return [dict(_block(block)) for block in encoder.blocks]


def _block(block: nn.Module) -> Iterator[tuple[str, float]]:
    for branch in block.branches:  # pyright: ignore[reportGeneralTypeIssues]
        if isinstance(branch, SelfAttention):
            yield from zip(GROUPS, map(_norm, (*_chunks(branch.qkv.weight), branch.out.weight.grad)), strict=False)
        else:
            yield from zip(GROUPS[4:], (_norm(branch[0].weight.grad), _norm(branch[2].weight.grad)), strict=True)


def _chunks(qkv: Tensor) -> Sequence[Tensor]:
    assert qkv.grad is not None, "gradients are measured after backward()"
    return qkv.grad.chunk(3)


def _norm(gradient: Tensor | None) -> float:
    assert gradient is not None, "gradients are measured after backward()"
    return float(gradient.norm())


def stream_gradients(streams: Sequence[Float[Tensor, "B N D"]]) -> Float[Tensor, " L1"]:
    """‖∂loss/∂h_l‖_F / ‖∂loss/∂h_L‖_F for l = 0..L, of streams that `capture` recorded; 1 everywhere: perfect flow."""
    gradients = [stream.grad for stream in streams]
    norms = torch.stack([gradient.norm() for gradient in gradients if gradient is not None])
    assert len(norms) == len(streams), "gradients are measured after backward()"
    return norms / norms[-1]
