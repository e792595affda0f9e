"""Attention in bfloat16 on the CPU: matrix products and a softmax, block by block.

On a CPU, torch's fused attention is slower in bfloat16 than in float32, above all in its backward pass. But torch's
matrix products are two to three times faster in bfloat16. Here both passes are products of blocks that fit into the
caches. No N×N tensor is kept: the backward pass computes the weights again, from the same numbers, bit for bit.

    P = softmax(q kᵀ / √d + bias),  dV = Pᵀ dO,  dP = dO Vᵀ,  dS = P ∘ (dP − rowsum(P ∘ dP))
    dQ = dS K / √d,  dK = dSᵀ Q / √d,  dBias = dS, summed over the batch and over each distance

as in FlashAttention (Dao et al. 2022, https://arxiv.org/abs/2205.14135). One difference: whole rows are computed, so no
running sum is needed. Products multiply bfloat16 numbers, sum in float32 and round to bfloat16. The bias and the
softmax are rounded to bfloat16 too. The bias is one table of distances. If the queries are in reverse order, its
matrix is a view of the table (see `posenc.attention.kernels.fused.Hankel`).
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from posenc.attention.bias import Bias
from posenc.attention.definition import add_values, biased
from posenc.attention.kernels import blocks, fused
from posenc.attention.kernels.blocks import Queries, Values
from posenc.attention.mask import Mask
from posenc.attention.softmax import PLAIN, Softmax
from posenc.positions.positions import Positions

BLOCK = 2**20
"""How many weights are computed at once, if one head has fewer: 2 MiB, so that a block fits into the caches."""


def products(
    q: Tensor, k: Tensor, v: Tensor, bias: Bias | None, positions: Positions, mask: Mask, softmax: Softmax = PLAIN
) -> Tensor:
    """The definition in bfloat16, for every bias and mask. q is scaled instead of the N×N logits."""
    q, k, v = (x.to(torch.bfloat16) for x in (q * v.shape[-1] ** -0.5, k, v))
    return add_values(softmax.weights(biased(q @ k.mT, bias, positions, mask, softmax)), v, bias, positions)


def attend(q: Queries, k: Queries, v: Values, bias: Bias | None, positions: Positions, mask: Mask) -> Values:
    """softmax(q kᵀ / √d + bias) v in bfloat16, for no bias or one table, and an open mask."""
    table = None if bias is None else fused.lay(bias, positions, mask)[1]
    q, k, v = blocks.operands(q, k, v, table, positions)
    B, H, N, d = v.shape
    q = (q * d**-0.5).to(torch.bfloat16)
    k, v = k.to(torch.bfloat16), v.to(torch.bfloat16)
    if table is None:
        out = BlockedAttention.apply(*(x.reshape(1, B * H, N, -1) for x in (q, k, v)), None)
        assert isinstance(out, Tensor)
        return out.view(B, H, N, d)
    table = table[0].to(torch.bfloat16).expand(H, -1)
    out = BlockedAttention.apply(*(x.transpose(0, 1).contiguous() for x in (q.flip(-2), k, v)), table)
    assert isinstance(out, Tensor)
    return out.transpose(0, 1).flip(-2)


class BlockedAttention(torch.autograd.Function):
    """(q / √d, k, v, table or None) → the output, shaped like v.

    q, k, v  (heads, batch, N, ·); with a table the queries are in reverse order
    table    (heads, 2N − 1)
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, table: Tensor | None) -> Tensor:
        """Keeps q, k, v and the table for the backward pass."""
        ctx.save_for_backward(q, k, v, table)
        out = torch.empty_like(v)
        for h, b, weights, _ in _blocks(q, k, table):
            torch.bmm(weights, v[h, b], out=out[h, b])
        return out

    @staticmethod
    @blocks.once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Computes the gradients block by block."""
        q, k, v, table = ctx.saved_tensors
        grad, N = grad.contiguous(), q.shape[-2]
        dq, dk, dv = torch.empty_like(q), k.new_empty(k.mT.shape), v.new_empty(v.mT.shape)
        by_pair = q.new_zeros(len(q), N, N, dtype=torch.float32) if ctx.needs_input_grad[3] else None
        for h, b, weights, slopes in _blocks(q, k, table):
            torch.bmm(grad[h, b].mT, weights, out=dv[h, b])  # the transposed product takes 1.5 times as long
            torch.bmm(grad[h, b], v[h, b].mT, out=slopes)
            torch.ops.aten._softmax_backward_data.out(slopes, weights, -1, slopes.dtype, grad_input=weights)
            torch.bmm(weights, k[h, b], out=dq[h, b])
            torch.bmm(q[h, b].mT, weights, out=dk[h, b])
            if by_pair is not None:
                by_pair[h] += weights.sum(0)
        dtable = None if by_pair is None else fused.diagonals(by_pair).to(torch.bfloat16)
        return dq, dk.mT, dv.mT, dtable


def _blocks(q: Tensor, k: Tensor, table: Tensor | None) -> Iterator[tuple[int, slice, Tensor, Tensor]]:
    """(head, sequences, weights, a buffer of the same shape) of each block. The next block overwrites both tensors."""
    heads, batch, N, _ = q.shape
    some = min(batch, max(1, BLOCK // (N * N)))
    logits, weights = q.new_empty(2, some, N, N)
    for h in range(heads):
        bias = None if table is None else table[h].unfold(-1, N, 1).contiguous()
        for b in blocks.cut(batch, some):
            here, there = logits[: b.stop - b.start], weights[: b.stop - b.start]
            torch.bmm(q[h, b], k[h, b].mT, out=here)
            if bias is not None:
                here += bias
            torch.softmax(here, -1, out=there)
            yield h, b, there, here
