"""Attention under a bias by distance on the CPU, without N×N tensors: fused forward, blocked backward.

A bias that depends on the distance alone is a Toeplitz matrix, N×N entries but 2N − 1 values. With the queries in
reverse order it is a Hankel matrix, row m the values from m to m + N − 1, and that is a view of the 2N − 1 values with
strides (1, 1): torch's fused CPU kernel reads it as its mask, and nothing larger is ever written. A causal mask and a
window depend on the distance alone too, so they are −∞ in the table.

The fused backward does not give the gradient of its mask, and torch's own way to it holds several (B, H, N, N) tensors.
Here the weights are computed again, a block of queries at a time, from what the forward pass kept (the logarithm of
each query's sum), and the table's gradient is summed over batch and diagonals before the next block:

    P = exp(q kᵀ / √d + bias − L),  dV = Pᵀ dO,  dS = P ∘ (dO Vᵀ − rowsum(dO ∘ O)),  dQ = dS K,  dK = dSᵀ Q

as in FlashAttention-2 (Dao 2023, https://arxiv.org/abs/2307.08691, algorithm 2), and dTable[t] = Σ dS over all pairs at
distance t. Deviations: whole rows, as a block of keys gains nothing on a CPU; powers of two instead of e, which torch
computes in 0.6 of the time; L and the row sums ride along as a column of Q and dO.
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from posenc.bias import Bias, ByDistance
from posenc.mask import Mask
from posenc.positions import Positions

BLOCK = 2**19
"""Weights that are computed at once in the backward pass: 2 MiB in float32, so that a block stays in the caches."""

FIXED_FROM = 512
"""Shorter sequences gain nothing where the bias needs no gradient: turning the queries costs what the view saves."""


def applies(q: Tensor, v: Tensor, bias: Bias | None, positions: Positions) -> bool:
    """Whether the bias is one table of distances for all queries and sequences, and the device a CPU.

    Not inside torch.compile, which does not trace the backward pass.
    """
    return (
        isinstance(bias, ByDistance)
        and bias.values is None
        and bias.table.shape[0] == bias.table.shape[2] == 1
        and positions.consecutive
        and q.shape[-1] == v.shape[-1]
        and q.device.type == "cpu"
        and not torch.compiler.is_compiling()
    )


def pays(q: Tensor, v: Tensor, bias: Bias | None, positions: Positions) -> bool:
    """Whether it applies and is the faster way: with a gradient always, else from 512 tokens on."""
    return applies(q, v, bias, positions) and (
        positions.length >= FIXED_FROM or (isinstance(bias, ByDistance) and bias.table.requires_grad)
    )


def attend(q: Tensor, k: Tensor, v: Tensor, bias: ByDistance, positions: Positions, mask: Mask) -> Tensor:
    """softmax(q kᵀ / √d + bias) v where `applies`; float64 stays, what is narrower than float32 is widened to it."""
    dtype = torch.promote_types(q.dtype, torch.float32)
    N, span = positions.length, positions.span
    table = bias.table[0, :, 0, span - N : span + N - 1].to(dtype)
    allowed = mask.allowed_distances(N, q.device)
    if allowed is not None:
        table = table.masked_fill(~allowed, float("-inf"))
    table = table.expand(q.shape[1], -1).contiguous()
    out = ToeplitzAttention.apply(q.to(dtype), k.to(dtype), v.to(dtype), table, mask.causal)
    assert isinstance(out, Tensor)
    return out.to(q.dtype)


def hankel(table: Float[Tensor, "H M"]) -> Float[Tensor, "H N N"]:
    """[h, m, n] = table[h, m + n], a view: the bias of the query that is the m-th from the end."""
    return table.unfold(-1, (table.shape[-1] + 1) // 2, 1)


def diagonals(x: Float[Tensor, "*b m N"]) -> Float[Tensor, "*b w"]:
    """out[j] = Σ_m x[m, j − m], w = N + m − 1: each row read one place further left, then summed."""
    m, N = x.shape[-2:]
    flat = F.pad(x, (0, m)).flatten(-2)[..., : m * (N + m - 1)]
    return flat.unflatten(-1, (m, N + m - 1)).sum(-2)


class ToeplitzAttention(torch.autograd.Function):
    """(q, k, v, table, causal) → softmax(q kᵀ / √d + bias) v;  (B, H, N, d) and (H, 2N − 1)."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, table: Tensor, causal: bool) -> Tensor:
        """Fused; keeps q, k, v and the output, which others hold anyway, and one number a query."""
        mask = hankel(table)[None]
        reverse, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q.flip(-2), k, v, attn_mask=mask)
        out = reverse.flip(-2)
        ctx.save_for_backward(q, k, v, table, out, lse)
        ctx.causal = causal
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """In blocks for a gradient of the table and under a causal mask, where they leave out half; else fused."""
        q, k, v, table, out, lse = ctx.saved_tensors
        q, out, grad = (x.flip(-2) for x in (q, out, grad))
        if ctx.needs_input_grad[3] or ctx.causal:
            dq, dk, dv, dtable = blocked_backward(grad, q, k, v, table, out, lse, ctx.causal)
        else:
            dtable = None
            dq, dk, dv = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                grad, q, k, v, out, lse, 0.0, False, attn_mask=hankel(table)[None]
            )
        return dq.flip(-2), dk, dv, dtable, None


def blocked_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, table: Tensor, out: Tensor, lse: Tensor, causal: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """dQ, dK, dV, dTable; queries, `grad`, `out` and `lse` in reverse order."""
    B, H, N, d = q.shape
    scale, log2e = d**-0.5, math.log2(math.e)
    # Heads first: a block is some heads or some queries of one head, over the whole batch.
    qs, ks, vs, grads, outs, sums = (x.transpose(0, 1) for x in (q, k, v, grad, out, lse))
    ones = q.new_ones(H, B, N, 1)
    queries = torch.cat((qs * (scale * log2e), -log2e * sums[..., None]), -1)
    keys = torch.cat((ks, ones), -1)
    values = torch.cat((vs, ones), -1)
    asked = torch.cat((grads, -(grads * outs).sum(-1, keepdim=True)), -1)
    bias = hankel(table * log2e)
    dq, dk, dv = q.new_empty(H, B, N, d), q.new_zeros(H, B, N, d), q.new_zeros(H, B, N, d)
    dtable = torch.zeros_like(table)
    heads = min(H, max(1, BLOCK // (B * N * N)))
    rows = N if heads > 1 else min(N, max(1, BLOCK // (B * N)))
    for h in (slice(start, start + heads) for start in range(0, H, heads)):
        for start in range(0, N, rows):
            m = slice(start, min(N, start + rows))
            n = slice(0, N - start if causal else N)  # no query of the block sees a later key
            weights = (queries[h, :, m] @ keys[h, :, n].mT).add_(bias[h, None, m, n]).exp2_()
            dv[h, :, n] += weights.mT @ asked[h, :, m, :d]
            slopes = weights.mul_(asked[h, :, m] @ values[h, :, n].mT)
            dq[h, :, m] = slopes @ keys[h, :, n, :d]
            dk[h, :, n] += slopes.mT @ queries[h, :, m, :d]
            dtable[h, start : n.stop + m.stop - 1] += diagonals(slopes.sum(1))
    return (dq * scale).transpose(0, 1), (dk / log2e).transpose(0, 1), dv.transpose(0, 1), dtable
