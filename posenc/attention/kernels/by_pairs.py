"""Attention on the CPU under a bias that is computed for some queries at a time. No N×N tensor exists at any time.

    P = softmax(q kᵀ / √d + bias),  dV = Pᵀ dO,  dS = P ∘ (dO Vᵀ − rowsum(dO ∘ O))
    dQ = dS K / √d,  dK = dSᵀ Q / √d,  dBias = dS, which autograd passes on through the bias of each block

The forward pass is torch's fused kernel for the CPU; the bias of a block is its mask. The backward pass computes
weights and bias again, from the logarithm of each query's sum (FlashAttention-2, Dao 2023,
https://arxiv.org/abs/2307.08691). It uses powers of two, as in `posenc.attention.kernels.fused`. A block leaves out
keys that the mask hides from all its queries.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from posenc.attention.bias import ByPairs
from posenc.attention.kernels import blocks
from posenc.attention.kernels.blocks import Queries, Values
from posenc.attention.mask import Mask
from posenc.positions.positions import Positions


def attend(q: Queries, k: Queries, v: Values, bias: ByPairs, positions: Positions, mask: Mask) -> Values:
    """The same as the definition. Inputs of lower precision than float32 are converted to float32."""
    dtype = torch.promote_types(q.dtype, torch.float32)
    with torch.no_grad():
        first = bias.logits(bias.parameters, slice(0, 1), slice(0, 1))
    q, k, v = blocks.operands(q, k, v, first, positions)
    c, d = q.shape[-1], v.shape[-1]
    # The fused kernel needs one width for q, k and v.
    wide = (F.pad(x, (0, max(c, d) - x.shape[-1])) if c != d else x for x in (q, k, v))
    with blocks.without_autocast(q):  # the backward pass runs without autocast and must compute the same weights
        out = PairAttention.apply(*(x.to(dtype).contiguous() for x in wide), d**-0.5, bias, mask, *bias.parameters)
    assert isinstance(out, Tensor)
    return out[..., :d].to(q.dtype)


class PairAttention(torch.autograd.Function):
    """(q, k, v, 1 / √d, bias, mask, the bias's parameters) → the output. q, k, v and output are (B, H, N, d)."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float, bias: ByPairs, mask: Mask, *parameters: Tensor
    ) -> Tensor:
        """Keeps its inputs, the output and one number for each query."""
        out, sums = torch.empty_like(v), q.new_empty(q.shape[:-1])
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        for m, n in _blocks(q, bias, mask):
            added = bias.logits(parameters, m, n).to(q.dtype)
            if added.stride(-1) != 1 or any(True for _ in mask.edges(m, n)):
                added = added.clone(memory_format=torch.contiguous_format)  # the bias may be a view of a parameter
            out[:, :, m], sums[:, :, m] = kernel(
                q[:, :, m], k[:, :, n], v[:, :, n], 0.0, False, attn_mask=_masked(added, mask, m, n), scale=scale
            )
        ctx.save_for_backward(q, k, v, out, sums, *parameters)
        ctx.scale, ctx.bias, ctx.mask = scale, bias, mask
        return out

    @staticmethod
    @blocks.once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of q, k, v, and of those parameters that need one."""
        q, k, v, out, sums, *parameters = ctx.saved_tensors
        places = [*_blocks(q, ctx.bias, ctx.mask)]
        (B, H, N, d), scale, log2e = v.shape, ctx.scale, math.log2(math.e)
        ones, rest = q.new_ones(B * H, N, 1), -(grad * out).sum(-1, keepdim=True)
        q, k, v, grad, sums, rest = (x.reshape(B * H, N, -1) for x in (q, k, v, grad, sums[..., None], rest))
        queries, keys = torch.cat((q * (scale * log2e), -log2e * sums), -1), torch.cat((k, ones), -1)
        asked, values = torch.cat((grad, rest), -1), torch.cat((v, ones), -1)
        # dk and dv are transposed, because d rows times a block is faster than a block times d columns.
        dq, dk, dv = torch.empty_like(q), k.new_zeros(B * H, d, N), v.new_zeros(B * H, d, N)
        # The leaves of a small graph that each block builds and frees.
        leaves = tuple(x.detach().requires_grad_(a) for x, a in zip(parameters, ctx.needs_input_grad[6:], strict=True))
        wanted = [x for x in leaves if x.requires_grad]
        found = [torch.zeros_like(x, dtype=torch.promote_types(x.dtype, torch.float32)) for x in wanted]
        for m, n in places:
            with torch.enable_grad(), blocks.without_autocast(q):
                bias = ctx.bias.logits(leaves, m, n)
            weights = torch.bmm(queries[:, m], keys[:, n].mT)
            each = weights.unflatten(0, (B, H)).add_(bias.detach(), alpha=log2e)
            _masked(each, ctx.mask, m, n)
            weights.exp2_()
            dv[:, :, n] += torch.bmm(grad[:, m].mT, weights)
            weights *= torch.bmm(asked[:, m], values[:, n].mT)  # `weights` is dS from here on
            torch.bmm(weights, k[:, n], out=dq[:, m])
            dk[:, :, n] += torch.bmm(q[:, m].mT, weights)
            if bias.requires_grad:
                given = each.sum_to_size(bias.shape).to(bias.dtype)
                for total, part in zip(found, torch.autograd.grad(bias, wanted, given, allow_unused=True), strict=True):
                    if part is not None:
                        total += part
        parts = iter(x.to(leaf.dtype) for x, leaf in zip(found, wanted, strict=True))
        own = (x.unflatten(0, (B, H)) for x in (dq * scale, dk.mT * scale, dv.mT))
        return *own, None, None, None, *(next(parts) if x.requires_grad else None for x in leaves)


def _masked(logits: Tensor, mask: Mask, m: slice, n: slice) -> Tensor:
    """Set logits to −∞, in place, where the mask forbids."""
    for some in mask.edges(m, n):
        allowed = mask.between(m, some, logits.device)
        assert allowed is not None
        logits[..., some.start - n.start : some.stop - n.start].masked_fill_(~allowed, float("-inf"))
    return logits


def _blocks(q: Tensor, bias: ByPairs, mask: Mask) -> Iterator[tuple[slice, slice]]:
    """(queries, the keys that they see) of each block. A block has all sequences and heads."""
    B, H, N, _ = q.shape
    for m in bias.blocks(N, N, others=B * H):
        yield m, mask.reach(m, N)
