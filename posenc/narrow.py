"""Attention in bfloat16 on the CPU, without a bias: matrix products and a softmax, some heads at a time.

torch's fused CPU attention is slower in bfloat16 than in float32, most of all its backward pass, while its matrix
products are two to three times faster. Here both passes are products of blocks that stay in the caches, and nothing of
N×N is kept: the backward pass computes the weights again, from the same numbers and so to the same bits.

    P = softmax(q kᵀ / √d),  dV = Pᵀ dO,  dP = dO Vᵀ,  dS = P ∘ (dP − rowsum(P ∘ dP)),  dQ = dS K / √d,  dK = dSᵀ Q / √d

as in FlashAttention (Dao et al. 2022, https://arxiv.org/abs/2205.14135), but that whole rows are computed, so that no
sum is carried along. Products are of bfloat16 numbers, summed in float32 and rounded to bfloat16, as is the softmax.
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from posenc.mask import Mask

BLOCK = 2**20
"""Weights that are computed at once, or those of one head: 2 MiB, so that a block stays in the caches."""

KEPT = 64
"""Up to this length the weights are few, and kept for the backward pass: that is faster than computing them again."""

LONGEST = 512
"""From here on torch's kernel in float32 is as fast: a head no longer fits into the caches."""


def pays(length: int, mask: Mask) -> bool:
    """Whether this is faster than torch's kernel in float32, which leaves out what a causal mask hides."""
    return length <= (LONGEST if mask.open else KEPT)


def attend(
    q: Float[Tensor, "B H N c"], k: Float[Tensor, "B H N c"], v: Float[Tensor, "B H N d"], mask: Mask
) -> Float[Tensor, "B H N d"]:
    """softmax(q kᵀ / √d) v over the keys that the mask allows, in bfloat16."""
    shape, N = v.shape, v.shape[-2]
    q = q * shape[-1] ** -0.5
    q, k, v = (x.to(torch.bfloat16).reshape(-1, N, x.shape[-1]) for x in (q, k, v))
    allowed = mask.allowed(N, q.device)
    if allowed is not None or N <= KEPT:
        logits = q @ k.mT
        logits = logits if allowed is None else logits.masked_fill(~allowed, float("-inf"))
        return (logits.softmax(-1) @ v).view(shape)
    out = BlockedAttention.apply(q, k, v)
    assert isinstance(out, Tensor)
    return out.view(shape)


class BlockedAttention(torch.autograd.Function):
    """(q / √d, k, v), each (heads, N, ·) in bfloat16 → (heads, N, d)."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Keeps q, k and v."""
        ctx.save_for_backward(q, k, v)
        out = torch.empty_like(v)
        for h, weights, _ in _blocks(q, k):
            torch.bmm(weights, v[h], out=out[h])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        """Block by block."""
        q, k, v = ctx.saved_tensors
        grad = grad.contiguous()
        dq, dk, dv = torch.empty_like(q), k.new_empty(k.mT.shape), v.new_empty(v.mT.shape)
        for h, weights, slopes in _blocks(q, k):
            torch.bmm(grad[h].mT, weights, out=dv[h])  # its transpose takes half as long again
            torch.bmm(grad[h], v[h].mT, out=slopes)
            torch.ops.aten._softmax_backward_data.out(slopes, weights, -1, slopes.dtype, grad_input=weights)
            torch.bmm(weights, k[h], out=dq[h])
            torch.bmm(q[h].mT, weights, out=dk[h])
        return dq, dk.mT, dv.mT


def _blocks(q: Tensor, k: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Some heads, their weights, and room for as many numbers; both are overwritten by the next block."""
    heads, N, _ = q.shape
    some = min(heads, max(1, BLOCK // (N * N)))
    logits, weights = q.new_empty(2, some, N, N)
    for start in range(0, heads, some):
        h = slice(start, min(heads, start + some))
        size = h.stop - start
        torch.bmm(q[h], k[h].mT, out=logits[:size])
        torch.softmax(logits[:size], -1, out=weights[:size])
        yield h, weights[:size], logits[:size]
