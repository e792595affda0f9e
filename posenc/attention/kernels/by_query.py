"""Attention on the CPU under a bias made of queries and vectors of distances. No N×N tensor is kept between blocks.

    logit(m, n) = q_m·k_n / √d + a_m·r[n − m],  out_m = Σ_n P(m, n) (v_n + s[n − m])

a are the `queries` of the bias and r its `vectors`; s are the vectors that some encodings add to the values. Between
queries m .. m' and n keys only n + m' − m distances occur. One product computes a_m·r for all of them: a row of
distances for each query. If it is read with a row stride that is one shorter, it is a row of keys for each query
(Huang et al. 2018, https://arxiv.org/abs/1809.04281, section 3.4.1). So logits are stored *inside* rows of distances.
Weights and their gradients are stored in the same way, with zeros at the borders. Every product reads the rows by
distance or by key, without a copy:

    dS = P ∘ (dO Vᵀ + dO sᵀ − rowsum(dO ∘ O)),  dV = Pᵀ dO,  ds = Pᵀ dO
    dQ = dS K,  dK = dSᵀ Q,  dA = dS r,  dr = dSᵀ A

The products with r and s are sums over distances. The backward pass computes the weights again, from the logarithm of
each query's sum (FlashAttention-2, Dao 2023, https://arxiv.org/abs/2307.08691). It uses powers of two, as in
`posenc.attention.kernels.fused`.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from posenc.attention.bias import ByQuery
from posenc.attention.kernels import blocks
from posenc.attention.kernels.blocks import Values
from posenc.attention.mask import Mask
from posenc.positions.positions import Positions

BLOCK, ROWS, LEAST = 2**18, 128, 16
"""`BLOCK`: weights computed at once, 1 MiB in float32, because several arrays of this size must fit into the caches.

`ROWS` and `LEAST`: the largest and the lowest number of queries of a head in a block. With few queries there are only a
few more distances than keys.
"""

Block = tuple[slice, slice, slice, slice]
"""(heads, queries, keys, distances): the distances between these queries and keys, among all 2N − 1."""


def attend(q: Values, k: Values, v: Values, bias: ByQuery, positions: Positions, mask: Mask) -> Values:
    """The same as the definition, for consecutive positions and q as wide as v.

    Inputs of lower precision than float32 are converted to float32.
    """
    dtype, N = torch.promote_types(q.dtype, torch.float32), positions.length
    if q.shape[1] == 1:
        q = q.expand(-1, len(bias.vectors), -1, -1)
    q, k, v = blocks.operands(q, k, v, bias.queries, positions)
    queries = bias.queries.expand(*q.shape[:-1], -1)
    occur = slice(positions.span - N, positions.span + N - 1)
    vectors = bias.vectors[:, occur].to(dtype)
    values = None if bias.values is None else bias.values[:, occur].to(dtype)
    first = (x.to(dtype).transpose(0, 1).contiguous() for x in (q, k, v, queries))
    with blocks.without_autocast(q):  # the backward pass runs without autocast and must compute the same weights
        out = QueryAttention.apply(*first, vectors, values, mask, bias.reach)
    assert isinstance(out, Tensor)
    return out.transpose(0, 1).to(q.dtype)


class QueryAttention(torch.autograd.Function):
    """(q, k, v, a, r, s or None, mask, reach) → the output, shaped like v.

    q, k, v, a  (H, B, N, ·)
    r, s        (1 or H, 2N − 1, ·)
    """

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, a: Tensor, r: Tensor, s: Tensor | None, mask: Mask, reach: int | None
    ) -> Tensor:
        """Keeps its inputs, the output and one number for each query."""
        out, sums = torch.empty_like(v), q.new_empty(*q.shape[:-1], 1)
        logits, weights = DistanceRows(q), DistanceRows(q)
        scale, log2e = q.shape[-1] ** -0.5, math.log2(math.e)
        for block in _blocks(q, mask):
            h, m, n, t = block
            own = Distinct(t, q.shape[2], reach)
            by_key = logits.read(block, a[h, :, m] * log2e, r, mask, own)
            by_key += (q[h, :, m] * (scale * log2e)) @ k[h, :, n].mT
            top = by_key.amax(-1, keepdim=True)
            by_distance = weights.of(block)
            by_key = torch.sub(by_key, top, out=blocks.by_key(by_distance)).exp2_()
            total = by_key.sum(-1, keepdim=True)
            mixed = by_key @ v[h, :, n]
            if s is not None:
                mixed += _apply(own.sums(by_distance), _of(s, h)[:, own.columns])
            out[h, :, m] = mixed / total
            sums[h, :, m] = top + total.log2()
        ctx.save_for_backward(q, k, v, a, r, s, out, sums)
        ctx.mask, ctx.reach = mask, reach
        return out

    @staticmethod
    @blocks.once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """All gradients. Training needs all of them, except for fixed vectors, whose gradient costs little."""
        q, k, v, a, r, s, out, sums = ctx.saved_tensors
        H, B, N, d = q.shape
        scale, log2e = d**-0.5, math.log2(math.e)
        ones = q.new_ones(H, B, N, 1)
        queries, keys = torch.cat((q * (scale * log2e), -sums), -1), torch.cat((k, ones), -1)
        asked, values = torch.cat((grad, -(grad * out).sum(-1, keepdim=True)), -1), torch.cat((v, ones), -1)
        dq, dk, dv, da, dr = (torch.zeros_like(x) for x in (q, k, v, a, r))
        ds = torch.zeros_like(r if s is None else s)
        read, bordered = DistanceRows(q), DistanceRows(q)
        for block in _blocks(q, ctx.mask):
            h, m, n, t = block
            own = Distinct(t, N, ctx.reach)
            weights = read.read(block, a[h, :, m] * log2e, r, ctx.mask, own)
            weights += queries[h, :, m] @ keys[h, :, n].mT
            weights.exp2_()
            dv[h, :, n] += weights.mT @ grad[h, :, m]
            by_distance = bordered.of(block)
            slopes = blocks.by_key(by_distance)
            if s is None:
                torch.mul(weights, asked[h, :, m] @ values[h, :, n].mT, out=slopes)
            else:
                slopes.copy_(weights)
                _gather(ds, h, own.columns, own.sums(by_distance), grad[h, :, m])
                given = read.read(block, grad[h, :, m], s, Mask(), own)  # overwrites `weights`
                given += asked[h, :, m] @ values[h, :, n].mT
                slopes *= given
            dq[h, :, m] = slopes @ k[h, :, n]
            dk[h, :, n] += slopes.mT @ q[h, :, m]
            summed = own.sums(by_distance)
            da[h, :, m] = _apply(summed, _of(r, h)[:, own.columns])
            _gather(dr, h, own.columns, summed, a[h, :, m])
        return dq * scale, dk * scale, dv, da, dr, None if s is None else ds, None, None


class Distinct:
    """The distances `t` of a block without those that repeat a vector.

    All distances ≤ −reach share a vector, and so do all distances ≥ reach. One column for each side is enough, and the
    products have fewer columns. `spread` repeats such a column; `sums` adds the columns that share one.
    """

    def __init__(self, t: slice, length: int, reach: int | None) -> None:
        last = t.stop - 1
        start, stop = t.start, last
        if reach is not None:
            start = max(t.start, min(length - 1 - reach, last))
            stop = min(last, max(length - 1 + reach, start))
            if 2 * (stop + 1 - start) > t.stop - t.start:  # not enough columns would be saved
                start, stop = t.start, last
        self.columns = slice(start, stop + 1)
        self.left, self.right = start - t.start, stop - t.start

    def spread(self, product: Float[Tensor, "h x w"], rows: Float[Tensor, "h x W"]) -> None:
        """Write each column of `product` to the columns of `rows` that share its vector."""
        rows[..., self.left : self.right + 1] = product
        rows[..., : self.left] = product[..., :1]
        rows[..., self.right + 1 :] = product[..., -1:]

    def sums(self, rows: Float[Tensor, "h B m W"]) -> Float[Tensor, "h B m w"]:
        """Sum the columns that share a vector."""
        if self.left == 0 and self.right == rows.shape[-1] - 1:
            return rows
        if self.left == self.right:
            return rows.sum(-1, keepdim=True)
        left, right = rows[..., : self.left + 1], rows[..., self.right :]
        between = rows[..., self.left + 1 : self.right]
        return torch.cat((left.sum(-1, keepdim=True), between, right.sum(-1, keepdim=True)), -1)


class DistanceRows:
    """A row of distances for each query of a block. The next block uses the same memory.

    `read` writes whole rows. Other rows must be zero where there is no key. They are zero at first, and later only the
    places of keys are written.
    """

    def __init__(self, like: Tensor) -> None:
        self.like, self.held = like, like.new_empty(0)

    def of(self, block: Block) -> Float[Tensor, "h B m W"]:
        """The rows of the last block; new zeros if this block has another shape."""
        h, m, _, t = block
        shape = (h.stop - h.start, self.like.shape[1], m.stop - m.start, t.stop - t.start)
        if self.held.shape != shape:
            self.held = self.like.new_zeros(shape)
        return self.held

    def read(
        self, block: Block, queries: Tensor, vectors: Tensor, mask: Mask, own: "Distinct"
    ) -> Float[Tensor, "h B m n"]:
        """queries · vectors at the distance of each key; −∞ where the mask forbids the key."""
        rows, (h, _, _, t) = self.of(block), block
        read, flat = _of(vectors, h)[:, own.columns].expand(len(rows), -1, -1).mT, rows.flatten(1, 2)
        if own.columns == t:
            torch.bmm(queries.flatten(1, 2), read, out=flat)
        else:
            own.spread(torch.bmm(queries.flatten(1, 2), read), flat)
        allowed = mask.allowed_distances(self.like.shape[2], rows.device)
        if allowed is not None:
            rows.masked_fill_(~allowed[t], float("-inf"))
        return blocks.by_key(rows)


def _of(vectors: Tensor, h: slice) -> Tensor:
    """The vectors of heads `h`, or the vectors that all heads share."""
    return vectors if len(vectors) == 1 else vectors[h]


def _apply(by_distance: Float[Tensor, "h B m W"], vectors: Float[Tensor, "g W c"]) -> Float[Tensor, "h B m c"]:
    """Σ over distances of by_distance · vectors."""
    product = torch.bmm(by_distance.flatten(1, 2), vectors.expand(len(by_distance), -1, -1))
    return product.unflatten(1, by_distance.shape[1:3])


def _gather(
    into: Tensor, h: slice, t: slice, by_distance: Float[Tensor, "h B m w"], x: Float[Tensor, "h B m c"]
) -> None:
    """Add Σ by_distance · x to `into`, over sequences and queries, and over heads if they share vectors."""
    product = torch.bmm(by_distance.flatten(1, 2).mT, x.flatten(1, 2))
    _of(into, h)[:, t] += product.sum(0, keepdim=True) if len(into) == 1 else product


def _blocks(q: Tensor, mask: Mask) -> Iterator[Block]:
    """The blocks: some queries of some heads, and the keys up to the last that one of the queries sees."""
    H, B, N, _ = q.shape
    rows = min(N, ROWS, max(LEAST, BLOCK // (max(1, B) * N)))
    for h in blocks.cut(H, max(1, BLOCK // (max(1, B) * rows * N))):
        for m in blocks.cut(N, rows):
            n = slice(0, m.stop if mask.causal else N)
            yield h, m, n, slice(N - m.stop, N - m.stop + n.stop + m.stop - m.start - 1)
