"""DAPE: a small network over the heads adapts a bias to the logits it is added to."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from posenc import checks
from posenc.attention.bias import Dense
from posenc.attention.kernels import blocks
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.kerple import KerpleLogPositionalBias
from posenc.positions.positions import Positions

BLOCK, SLOPE = 2**19, 0.01
"""How many hidden units are computed at once, and LeakyReLU's slope."""


class DAPEPositionalBias(PositionalEncoding):
    """logits = S + B + f([S; B]),  S = q kᵀ / √d,  B a KERPLE-log bias,  f: 2H → hidden → H with LeakyReLU, pairwise.

    Data-adaptive positional encoding, Zheng et al. 2024 (https://arxiv.org/abs/2405.14722), over KERPLE, one of the
    biases that the paper adapts. f is as in the authors' code (hidden 32, slope 0.01, torch's start). It is computed
    for N² pairs. The paper's models are causal. f sees one pair at a time, so it needs no mask. Each layer has its own
    f and B, as in the authors' code (https://github.com/chuanyang-Zheng/DAPE). Defined at every length.
    """

    source = "https://arxiv.org/abs/2405.14722"
    proof = ("formula",)
    size = "L·(2·H + hidden·(3·H + 1) + H)"
    depends_on = frozenset({"|distance|", "content"})
    per_layer = True

    def __init__(self, num_heads: int, hidden: int = 32) -> None:
        super().__init__()
        checks.positive(self, maximum=checks.MAX_WIDTH, num_heads=num_heads, hidden=hidden)
        self.num_heads, self.hidden = num_heads, hidden
        self.static = KerpleLogPositionalBias(num_heads)
        self.inner, self.outer = nn.Linear(2 * num_heads, hidden), nn.Linear(hidden, num_heads)

    def bias(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> Dense:
        dtype, shape = self.inner.weight.dtype, (*q.shape[:3], k.shape[2])
        S = ((q * q.shape[-1] ** -0.5) @ k.mT).to(dtype).flatten(2)  # (B, H, N²): heads stay where they are
        static = self.static.bias(x, q, k, positions).matrix(positions).to(dtype).flatten(2)
        inner, outer = self.inner, self.outer
        parts = (inner.weight, inner.bias[:, None], outer.weight, outer.bias[:, None])
        logits = blocks.apply(Adapted, definition, S, static, *parts)
        return Dense(logits.view(shape).to(q.dtype))


def definition(S: Tensor, static: Tensor, V: Tensor, a: Tensor, W: Tensor, c: Tensor) -> Float[Tensor, "B H P"]:
    """B + W · LeakyReLU(V [S; B] + a) + c for P pairs; S is (B, H, P), static (b, H, P), b = 1 or B."""
    both = torch.cat((S, static.expand(S.shape)), 1)
    return static + W @ F.leaky_relu(V @ both + a, SLOPE) + c


class Adapted(torch.autograd.Function):
    """The definition for some pairs at a time, so that hidden units fit into the caches. Computed again backward."""

    @staticmethod
    def forward(ctx: Any, S: Tensor, static: Tensor, V: Tensor, a: Tensor, W: Tensor, c: Tensor) -> Tensor:
        """Keeps its inputs."""
        ctx.save_for_backward(S, static, V, a, W)
        out = torch.empty_like(S)
        for p, hidden in _hidden(S, static, V, a):
            out[..., p] = torch.baddbmm(static[..., p] + c, W.expand(len(S), -1, -1), hidden)
        return out

    @staticmethod
    @blocks.once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        """Computes the gradients. The sign of LeakyReLU's output gives its slope."""
        S, static, V, a, W = saved = ctx.saved_tensors  # read once: activation checkpointing allows no second time
        dS, dstatic, dV, da, dW = (torch.zeros_like(x) for x in saved)
        (B, H, _), b = S.shape, len(static)
        from_W, from_S, from_static = W.T.expand(B, -1, -1), V[:, :H].T.expand(B, -1, -1), V[:, H:].T.expand(b, -1, -1)
        for p, hidden in _hidden(S, static, V, a):
            g = grad[..., p]
            dW += torch.bmm(g, hidden.mT).sum(0)
            slopes = torch.ops.aten.leaky_relu_backward(torch.bmm(from_W, g), hidden, SLOPE, True)
            dS[..., p] = torch.bmm(from_S, slopes)
            dV[:, :H] += torch.bmm(slopes, S[..., p].mT).sum(0)
            slopes, g = slopes.sum_to_size(b, *slopes.shape[1:]), g.sum_to_size(b, *g.shape[1:])
            dstatic[..., p] = torch.baddbmm(g, from_static, slopes)
            dV[:, H:] += torch.bmm(slopes, static[..., p].mT).sum(0)
            da += slopes.sum((0, 2))[:, None]
        return dS, dstatic, dV, da, dW, grad.sum((0, 2))[:, None]


def _hidden(S: Tensor, static: Tensor, V: Tensor, a: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """(pairs, their hidden units (B, hidden, pairs)). Products are bmm, because @ would copy tensors of three axes."""
    (B, H, P), b = S.shape, len(static)
    of_S, of_static = V[:, :H].expand(B, -1, -1), V[:, H:].expand(b, -1, -1)
    pairs = max(1, BLOCK // (max(1, B) * len(V)))
    for p in blocks.cut(P, pairs):
        alone = torch.baddbmm(a, of_static, static[..., p])  # of one sequence, where all have the same distances
        yield p, F.leaky_relu_(torch.baddbmm(alone, of_S, S[..., p]), SLOPE)
