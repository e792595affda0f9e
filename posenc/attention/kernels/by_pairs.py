"""Attention under a bias that is computed for some queries at a time, on the CPU: nothing of N×N lives.

    P = softmax(q kᵀ / √d + bias),  dV = Pᵀ dO,  dS = P ∘ (dO Vᵀ − rowsum(dO ∘ O))
    dQ = dS K / √d,  dK = dSᵀ Q / √d,  dBias = dS, handed to the bias's own graph of these queries and keys

The backward pass computes weights and bias again, from the logarithm of each query's sum (FlashAttention-2, Dao 2023,
https://arxiv.org/abs/2307.08691). Keys that the mask hides from all queries of a block are left out.
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from posenc.attention.bias import ByPairs
from posenc.attention.kernels import blocks
from posenc.attention.mask import Mask
from posenc.positions.positions import Positions


def attend(
    q: Float[Tensor, "B H N c"],
    k: Float[Tensor, "B H N c"],
    v: Float[Tensor, "B H N d"],
    bias: ByPairs,
    positions: Positions,
    mask: Mask,
) -> Float[Tensor, "B H N d"]:
    """The definition's answer; inputs narrower than float32 are widened to it."""
    dtype = torch.promote_types(q.dtype, torch.float32)
    with torch.no_grad():
        first = bias.logits(bias.parameters, slice(0, 1), slice(0, 1))
    q, k, v = blocks.operands(q, k, v, first, positions.length)
    with blocks.without_autocast(q):  # the backward pass, outside it, must find the same weights
        out = PairAttention.apply(q.to(dtype), k.to(dtype), v.to(dtype), bias, mask, *bias.parameters)
    assert isinstance(out, Tensor)
    return out.to(q.dtype)


class PairAttention(torch.autograd.Function):
    """(q, k, v, each (B, H, N, ·), a bias, a mask, the bias's parameters) → as v."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: ByPairs, mask: Mask, *parameters: Tensor) -> Tensor:
        """Keeps what it was given, the output and one number a query."""
        out, sums = v.new_empty(v.shape), q.new_empty(*q.shape[:-1], 1)
        for m, n in _blocks(q, bias, mask):
            logits = _logits(q, k, v, bias.logits(parameters, m, n), mask, m, n)
            sums[:, :, m] = logits.logsumexp(-1, keepdim=True)
            out[:, :, m] = logits.sub_(sums[:, :, m]).exp_() @ v[:, :, n]
        ctx.save_for_backward(q, k, v, out, sums, *parameters)
        ctx.bias, ctx.mask = bias, mask
        return out

    @staticmethod
    @blocks.once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Of q, k and v always; of the parameters that ask for one."""
        q, k, v, out, sums, *parameters = ctx.saved_tensors
        scale, rest = v.shape[-1] ** -0.5, (grad * out).sum(-1, keepdim=True)
        dq, dk, dv = (torch.zeros_like(x, memory_format=torch.contiguous_format) for x in (q, k, v))
        # Leaves of each block's own small graph, which is gone after it.
        leaves = tuple(x.detach().requires_grad_(a) for x, a in zip(parameters, ctx.needs_input_grad[5:], strict=True))
        asked = [x for x in leaves if x.requires_grad]
        found = [torch.zeros_like(x, dtype=torch.promote_types(x.dtype, torch.float32)) for x in asked]
        for m, n in _blocks(q, ctx.bias, ctx.mask):
            with torch.enable_grad(), blocks.without_autocast(q):
                bias = ctx.bias.logits(leaves, m, n)
            weights = _logits(q, k, v, bias.detach(), ctx.mask, m, n).sub_(sums[:, :, m]).exp_()
            dv[:, :, n] += weights.mT @ grad[:, :, m]
            slopes = (grad[:, :, m] @ v[:, :, n].mT).sub_(rest[:, :, m]).mul_(weights)
            dq[:, :, m] = slopes @ k[:, :, n]
            dk[:, :, n] += slopes.mT @ q[:, :, m]
            if bias.requires_grad:
                given = slopes.sum_to_size(bias.shape).to(bias.dtype)
                for total, part in zip(found, torch.autograd.grad(bias, asked, given, allow_unused=True), strict=True):
                    if part is not None:
                        total += part
        each = iter(x.to(leaf.dtype) for x, leaf in zip(found, asked, strict=True))
        return dq * scale, dk * scale, dv, None, None, *(next(each) if x.requires_grad else None for x in leaves)


def _logits(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, mask: Mask, m: slice, n: slice) -> Float[Tensor, "B H m n"]:
    """q kᵀ / √d + bias, −∞ where the mask forbids."""
    logits = ((q[:, :, m] * v.shape[-1] ** -0.5) @ k[:, :, n].mT).add_(bias)
    allowed = mask.between(m, n, q.device)
    return logits if allowed is None else logits.masked_fill_(~allowed, float("-inf"))


def _blocks(q: Tensor, bias: ByPairs, mask: Mask) -> Iterator[tuple[slice, slice]]:
    """Some queries, and the keys that they see, of all sequences and heads."""
    B, H, N, _ = q.shape
    for m in bias.blocks(N, others=B * H):
        yield m, mask.reach(m, N)
