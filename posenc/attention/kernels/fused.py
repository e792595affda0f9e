"""Attention on the CPU under a learned bias: a fused forward pass and a blocked backward pass.

Apart from the bias itself no N×N tensor is built. torch's fused CPU kernel takes a bias as its mask and reads it
through any strides, but it gives no gradient of the bias. If that gradient is needed, torch builds several
(B, H, N, N) tensors instead. Here the forward pass is torch's fused kernel. The backward pass computes the weights
again, a block of queries at a time, from L, the logarithm of each query's sum, which the forward pass kept:

    P = exp(q kᵀ / √d + bias − L),  dV = Pᵀ dO,  dS = P ∘ (dO Vᵀ − rowsum(dO ∘ O)),  dQ = dS K,  dK = dSᵀ Q

as in FlashAttention-2 (Dao 2023, https://arxiv.org/abs/2307.08691, algorithm 2), and dBias = dS, block by block.
Deviations: whole rows are computed, because blocks of keys gain nothing on a CPU; powers of two replace powers of e,
because torch computes them in 0.6 of the time; L and the row sums are one more column of Q and dO.

A `Layout` says how the bias is stored in memory:

    Hankel  a table of distances for all queries. A Toeplitz matrix has N×N entries but only 2N − 1 values. If the
            queries are in reverse order, it is a Hankel matrix: row m has the values from m to m + N − 1. It is a view
            of the values with strides (1, 1). Its gradient is summed over batch and diagonals before the next block.
    Rows    a row of distances for each query (see `blocks.skew`): a view with strides (M − 1, 1).
    Full    the matrix itself.
"""

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from posenc.attention.bias import Bias, ByDistance, ByQuery
from posenc.attention.kernels import blocks
from posenc.attention.mask import Mask
from posenc.positions.positions import Positions

BLOCK = 2**19
"""How many weights the backward pass computes at once: 2 MiB in float32, and three or four times that with their
gradients. So a block fits into the caches."""


class Layout(ABC):
    """How a bias is stored, (b, H, ...) with b = 1 or B, and read as (b, H, N, N) without a copy."""

    reverse: bool = False
    """Whether the queries are in reverse order, so that the first row belongs to the last query."""

    @abstractmethod
    def matrix(self, stored: Tensor) -> Float[Tensor, "b H N N"]:
        """The bias of each pair, as a view."""

    def room(self, weights: Float[Tensor, "heads B m n"], held: Tensor | None) -> tuple[Tensor, Tensor]:
        """(the view that dS of a block is written to, its whole memory). `held` is used again if its shape fits."""
        return weights, weights

    def collect(self, gradient: Tensor, h: slice, m: slice, n: slice, held: Tensor) -> None:
        """Add dS of one block, from the memory of `room`, to the gradient of the stored bias."""
        place = self.matrix(gradient).transpose(0, 1)[h, :, m, n]
        place.copy_(held if place.shape[1] > 1 else held.sum(1, keepdim=True))


class Hankel(Layout):
    """(1, H, 2N − 1): one value for each distance."""

    reverse = True

    def matrix(self, stored: Tensor) -> Tensor:
        """[0, h, m, n] = stored[0, h, m + n]."""
        return stored.unfold(-1, (stored.shape[-1] + 1) // 2, 1)

    def room(self, weights: Float[Tensor, "heads B m n"], held: Tensor | None) -> tuple[Tensor, Tensor]:
        """Rows of distances, zero where there is no key. The row stride is one longer, so diagonals become columns."""
        heads, B, m, n = weights.shape
        W = m + n - 1
        if held is None or held.shape != (heads, B, m, W):
            held = weights.new_zeros(heads, B, m, W)
        return held.as_strided(weights.shape, (B * m * W, m * W, W + 1, 1)), held

    def collect(self, gradient: Tensor, h: slice, m: slice, n: slice, held: Tensor) -> None:
        """Add the sum of each diagonal to the gradient at its distance."""
        gradient[0, h, m.start : n.stop + m.stop - 1] += held.sum((1, 2))


class Rows(Layout):
    """(b, H, N, 2N − 1): a row of distances for each query."""

    def matrix(self, stored: Tensor) -> Tensor:
        """[b, h, m, n] = stored[b, h, m, n − m + N − 1]."""
        return blocks.skew(stored)


class Full(Layout):
    """(b, H, N, N)."""

    def matrix(self, stored: Tensor) -> Tensor:
        """The stored matrix itself."""
        return stored


def diagonals(x: Float[Tensor, "*b m N"]) -> Float[Tensor, "*b w"]:
    """out[j] = Σ_m x[m, j − m], w = N + m − 1: row m is moved m places to the right, then all rows are summed."""
    m, N = x.shape[-2:]
    flat = F.pad(x, (0, m)).flatten(-2)[..., : m * (N + m - 1)]
    return flat.unflatten(-1, (m, N + m - 1)).sum(-2)


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Bias, positions: Positions, mask: Mask) -> Tensor:
    """softmax(q kᵀ / √d + bias) v on a CPU, for a bias without values and q as wide as v.

    Inputs of lower precision than float32 are converted to float32.
    """
    dtype = torch.promote_types(q.dtype, torch.float32)
    layout, stored = lay(bias, positions, mask)
    q, k, v = blocks.operands(q, k, v, stored, positions)
    H = q.shape[1]
    stored = stored.to(dtype).expand(-1, H, *stored.shape[2:]).contiguous()
    out = FusedAttention.apply(q.to(dtype), k.to(dtype), v.to(dtype), stored, layout, mask.causal)
    assert isinstance(out, Tensor)
    return out.to(q.dtype)


def lay(bias: Bias, positions: Positions, mask: Mask) -> tuple[Layout, Tensor]:
    """The smallest form of the bias, with −∞ where the mask forbids. The kernel itself applies a mere causal mask."""
    N, span = positions.length, positions.span
    bias = ByDistance(bias.table) if isinstance(bias, ByQuery) else bias
    if isinstance(bias, ByDistance) and positions.consecutive:
        stored, allowed = bias.table[..., span - N : span + N - 1], mask.allowed_distances(N, bias.table.device)
        layout, stored = (Hankel(), stored[:, :, 0]) if stored.shape[2] == 1 == len(stored) else (Rows(), stored)
        stored = stored if layout.reverse else stored.expand(-1, -1, N, -1)
    else:
        layout, stored = Full(), bias.matrix(positions)
        allowed = mask.allowed(N, stored.device)
    if allowed is None or (mask.window is None and not layout.reverse):
        return layout, stored
    return layout, stored.masked_fill(~allowed, float("-inf"))


class FusedAttention(torch.autograd.Function):
    """(q, k, v, bias as stored, its layout, causal) → softmax(q kᵀ / √d + bias) v,  (B, H, N, d)."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, stored: Tensor, layout: Layout, causal: bool) -> Tensor:
        """Fused. Keeps one number for each query, and q, k, v, bias and output, which autograd keeps anyway."""
        rows = q.flip(-2) if layout.reverse else q
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        out, lse = kernel(rows, k, v, 0.0, causal and not layout.reverse, attn_mask=layout.matrix(stored))
        out = out.flip(-2) if layout.reverse else out
        ctx.save_for_backward(q, k, v, stored, out, lse)
        ctx.layout, ctx.causal = layout, causal
        return out

    @staticmethod
    @blocks.once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """In blocks, if the bias needs a gradient or the mask is causal (blocks leave out half). Otherwise fused."""
        q, k, v, stored, out, lse = ctx.saved_tensors
        layout: Layout = ctx.layout
        if layout.reverse:
            q, out, grad = (x.flip(-2) for x in (q, out, grad))
        gradient = None
        if ctx.needs_input_grad[3] or ctx.causal:
            gradient = torch.zeros_like(stored) if ctx.needs_input_grad[3] else None
            dq, dk, dv = blocked_backward(grad, q, k, v, out, lse, stored, layout, gradient, ctx.causal)
        else:
            kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
            grad = grad if grad.stride(-1) == 1 else grad.contiguous()  # the kernel does not check strides
            dq, dk, dv = kernel(grad, q, k, v, out, lse, 0.0, False, attn_mask=layout.matrix(stored))
        return (dq.flip(-2) if layout.reverse else dq), dk, dv, gradient, None, None


def blocked_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor,
    stored: Tensor, layout: Layout, gradient: Tensor | None, causal: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """dQ, dK and dV, with rows in the layout's order. `layout.collect` adds dS to `gradient`."""
    B, H, N, d = q.shape
    scale, log2e = d**-0.5, math.log2(math.e)
    # The axis of heads is first: a block is several heads, or some queries of one head, for the whole batch.
    qs, ks, vs, grads, outs, sums = (x.transpose(0, 1) for x in (q, k, v, grad, out, lse))
    bias = layout.matrix(stored).transpose(0, 1)
    ones = q.new_ones(H, B, N, 1)
    queries = torch.cat((qs * (scale * log2e), -log2e * sums[..., None]), -1)
    keys = torch.cat((ks, ones), -1)
    values = torch.cat((vs, ones), -1)
    asked = torch.cat((grads, -(grads * outs).sum(-1, keepdim=True)), -1)
    # dk and dv are transposed, because d rows times a block is faster than a block times d columns.
    dq, dk, dv = q.new_empty(H, B, N, d), q.new_zeros(H, B, d, N), q.new_zeros(H, B, d, N)
    heads = min(H, max(1, BLOCK // (max(1, B) * N * N)))
    rows = N if heads > 1 else min(N, max(1, BLOCK // (max(1, B) * N)))
    later = torch.ones(rows, rows, dtype=torch.bool).triu(1)
    held: Tensor | None = None
    for h in blocks.cut(H, heads):
        for m in blocks.cut(N, rows):
            n = slice(0, N if not causal else N - m.start if layout.reverse else m.stop)  # no later keys
            weights = (queries[h, :, m] @ keys[h, :, n].mT).add_(bias[h, :, m, n], alpha=log2e)
            if causal and not layout.reverse:
                weights[..., m.start :].masked_fill_(later[: m.stop - m.start, : m.stop - m.start], float("-inf"))
            weights.exp2_()
            dv[h, :, :, n] += asked[h, :, m, :d].mT @ weights
            slopes, held = (weights, None) if gradient is None else layout.room(weights, held)
            torch.mul(weights, asked[h, :, m] @ values[h, :, n].mT, out=slopes)
            dq[h, :, m] = slopes @ keys[h, :, n, :d]
            dk[h, :, :, n] += queries[h, :, m, :d].mT @ slopes
            if gradient is not None and held is not None:
                layout.collect(gradient, h, m, n, held)
    return (dq * scale).transpose(0, 1), (dk / log2e).mT.transpose(0, 1), dv.mT.transpose(0, 1)
