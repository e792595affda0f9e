"""CoPE: the position of a key is a count of tokens, and the query decides which tokens count."""

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
from posenc.positions.positions import Positions

BLOCK, ROWS = 2**18, 64
"""Upper limits of pairs of tokens and of queries that are computed at once. With few queries in a block, most keys that
none of them sees are left out."""


class ContextualPositionalEncoding(PositionalEncoding):
    """logit(m, n) += q_m · e[p(m, n)],  p(m, n) = Σ_{s=n..m} σ(q_m·k_s / √d), at most max_count − 1.

    CoPE, Golovneva et al. 2024 (https://arxiv.org/abs/2405.18719). Two details are from the authors' code: gates see
    the scaled logits, and q·e is not scaled. e has max_count vectors of width d, shared by all heads, and is
    interpolated between whole counts. It starts at zero, so step 0 is exactly NoPE. Each layer has its own vectors, as
    in the authors' code (the paper's appendix makes them inside the attention module). It uses the order of the tokens,
    not position ids. Causal. Defined at every length; counts that did not occur in training are untrained.
    """

    source = "https://arxiv.org/abs/2405.18719"
    proof = ("x-transformers", "formula")
    size = "L·max_count·d"
    depends_on = frozenset({"order", "content"})
    causal_only = True
    per_layer = True

    def __init__(self, dim: int, num_heads: int, causal: bool, max_count: int = 64) -> None:
        super().__init__()
        checks.divisible(self, dim=dim, num_heads=num_heads)
        checks.positive(self, minimum=2, max_count=max_count)
        checks.under_a_causal_mask(self, causal=causal)
        checks.tensor_fits(self, max_count=max_count, dim=dim)
        self.dim, self.num_heads, self.causal, self.max_count = dim, num_heads, causal, max_count
        self.table = nn.Parameter(torch.zeros(max_count, dim // num_heads))

    def reset_parameters(self) -> None:
        """Zero: no position at step 0."""
        nn.init.zeros_(self.table)

    def bias(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> Dense:
        at_whole = q @ self.table.T.to(q.dtype)  # (B, H, N, max_count)
        to_next = F.pad(at_whole.diff(), (0, 1))  # nothing after the last count
        dtype = torch.promote_types(q.dtype, torch.float32)  # bfloat16 cannot count past 256
        scaled = q * q.shape[-1] ** -0.5
        operands = (each.to(dtype).flatten(0, 1) for each in (scaled, k, at_whole, to_next))
        bias = blocks.apply(ContextualBias, definition, *operands)
        return Dense(bias.unflatten(0, q.shape[:2]).to(q.dtype))


def definition(q: Tensor, k: Tensor, at_whole: Tensor, to_next: Tensor) -> Float[Tensor, "BH M N"]:
    """The bias at each count, interpolated. q includes 1/√d; to_next[p] is at_whole[p + 1] − at_whole[p]."""
    gates = (q @ k.mT).masked_fill(~blocks.earlier(q.shape[-2], k.shape[-2], q.device), float("-inf")).sigmoid()
    count = gates + gates.sum(-1, keepdim=True) - gates.cumsum(-1)
    whole = count.detach().long().clamp_(0, at_whole.shape[-1] - 1)
    return torch.addcmul(at_whole.gather(-1, whole), count - whole, to_next.gather(-1, whole))


class ContextualBias(torch.autograd.Function):
    """The definition for some rows of a head at a time, so that blocks fit into the caches. Computed again backward."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, at_whole: Tensor, to_next: Tensor) -> Tensor:
        """Keeps its inputs. The result for later keys has no meaning; the mask hides it."""
        ctx.save_for_backward(q, k, at_whole, to_next)
        out = q.new_empty(*q.shape[:-1], k.shape[-2])
        for at, seen, _, whole, share in _counts(q, k, at_whole.shape[-1]):
            out[at][..., seen] = torch.addcmul(at_whole[at].gather(-1, whole), share, to_next[at].gather(-1, whole))
            out[at][..., seen.stop :] = 0
        return out

    @staticmethod
    @blocks.once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        """The gradient of a sum from n to m is a prefix sum."""
        q, k, at_whole, to_next = saved = ctx.saved_tensors  # read once: activation checkpointing allows no second time
        dq, dk, dat, dnext = (torch.zeros_like(each) for each in saved)
        for at, seen, gates, whole, share in _counts(q, k, at_whole.shape[-1]):
            slopes = grad[at][..., seen]
            dat[at].scatter_add_(-1, whole, slopes)
            dnext[at].scatter_add_(-1, whole, share.mul_(slopes))
            slopes = (slopes * to_next[at].gather(-1, whole)).cumsum_(-1)
            slopes = torch.ops.aten.sigmoid_backward(slopes, gates)
            dq[at] = slopes @ k[at[0], seen]
            dk[at[0], seen] += slopes.mT @ q[at]
        return dq, dk, dat, dnext


def _counts(q: Tensor, k: Tensor, most: int) -> Iterator[tuple[tuple[slice, slice], slice, Tensor, Tensor, Tensor]]:
    """(queries of some heads, the keys that they see, and for each pair the gate, ⌊count⌋ and the fraction)."""
    heads, M, N = *q.shape[:2], k.shape[1]
    rows = min(M, ROWS)
    seen = blocks.earlier(M, N, q.device).to(q.dtype)
    for h in blocks.cut(heads, max(1, BLOCK // (rows * N))):
        for m in blocks.cut(M, rows):
            n = slice(0, N - M + m.stop)
            gates = (q[h, m] @ k[h, n].mT).sigmoid_().mul_(seen[m, n])
            prefix = gates.cumsum(-1)
            count = torch.sub(gates, prefix).add_(prefix[..., -1:])
            yield (h, m), n, gates, count.long().clamp_(0, most - 1), count.frac_()  # 0: of NaN, which is no index
