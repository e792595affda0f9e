"""RoPE that gives far keys distances inside the training range, to test longer sequences without training."""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from posenc import checks
from posenc.attention.bias import Dense
from posenc.attention.kernels import blocks
from posenc.checks import ConfigError
from posenc.encodings.rope import RotaryPositionalEncoding, turn
from posenc.positions.positions import Positions
from posenc.positions.schemes import Length, OriginalLength

Region = tuple[Bool[Tensor, "b M N"], Float[Tensor, "b M"], Float[Tensor, "b N"]]
"""Pairs (query, key), and the new positions of their queries and of their keys."""


class FarRotaryPositionalEncoding(OriginalLength, RotaryPositionalEncoding):
    """RoPE whose logit of a query at m and a key at n has another distance than n − m in some regions of (m, n).

    The base of the classes below. Queries and keys are turned by their own positions, and for each region once more, by
    the difference from their positions there. The difference of the logits is a bias. Causal. If a sequence has no pair
    in a region, this is RoPE.
    """

    causal_only = True

    def __init__(
        self,
        dim: int,
        num_heads: int,
        causal: bool,
        original_length: Length | None = None,
        base: float = 10_000.0,
        layout: str = "interleaved",
        rotated: float | None = None,
    ) -> None:
        super().__init__(dim, num_heads, base, layout, rotated)
        checks.under_a_causal_mask(self, causal=causal)
        self.causal = causal
        self._set(original_length)

    def regions(self, m: Float[Tensor, "b M"], n: Float[Tensor, "b N"]) -> Iterator[Region]:
        """The regions, for queries at m and keys at n; they do not overlap."""
        raise NotImplementedError

    @property
    def near(self) -> float:
        """At smaller distances the logits are RoPE's, for every query."""
        raise NotImplementedError

    def bias(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> Dense | None:
        if positions.extent < self.near:
            return None
        dtype = torch.promote_types(q.dtype, torch.float32)
        m, n = positions.values.to(dtype), positions.at_keys.values.to(dtype)
        theta = self.rates(positions, dtype)
        scale = q.shape[-1] ** -0.5
        with blocks.without_autocast(q):
            q, k = q.to(dtype), k.to(dtype)
            plain = q @ k.mT
            change = torch.zeros_like(plain)
            for region, at_query, at_key in self.regions(m, n):
                there = self._moved(q, at_query - m, theta) @ self._moved(k, at_key - n, theta).mT
                change = torch.where(region[:, None], there - plain, change)
        return Dense(scale * change)

    def _moved(self, x: Tensor, by: Float[Tensor, "b N"], theta: Tensor) -> Tensor:
        angle = by[:, None, :, None].double() * theta.double()  # far positions make many turns
        angle = angle.remainder(2 * math.pi).to(x.dtype)
        return turn(x, angle.cos(), angle.sin(), self.layout)


def _left(m: Tensor, n: Tensor) -> Float[Tensor, "b M N"]:
    """How far each key (column) lies to the left of each query (row)."""
    return m[:, :, None] - n[:, None, :]


class RectifiedRotaryPositionalEncoding(FarRotaryPositionalEncoding):
    """logit(m, n) = RoPE's at distance r = m − n below w, and at w + (r − w)/s from there on; ReRoPE: s = ∞.

    ReRoPE and leaky ReRoPE, Su 2023 (https://kexue.fm/archives/9708; https://github.com/bojone/rerope): no logit has a
    distance beyond those that were trained, or all grow s times slower, s = `slowed`; null: ReRoPE, s = ∞. w is
    `window`; null: half of L, the length that was trained. Up to w positions it is RoPE. Made for a test, by
    `python -m posenc evaluate RUN --set encoding=rerope`. The log n factor of the authors' code is
    `model.logit_scale=log_n`. Causal. Defined at every length.
    """

    source = "https://kexue.fm/archives/9708"
    proof = ("formula",)
    depends_on = frozenset({"distance"})

    def __init__(
        self,
        dim: int,
        num_heads: int,
        causal: bool,
        original_length: Length | None = None,
        window: int | None = None,
        slowed: float | None = None,
        base: float = 10_000.0,
        layout: str = "interleaved",
        rotated: float | None = None,
    ) -> None:
        super().__init__(dim, num_heads, causal, original_length, base, layout, rotated)
        checks.positive(self, **checks.given(window=window))
        checks.number(self, low=1, **checks.given(slowed=slowed))
        self.window, self.slowed = window, slowed

    @property
    def near(self) -> float:
        """w."""
        return max(1, self.trained // 2) if self.window is None else self.window

    def regions(self, m: Tensor, n: Tensor) -> Iterator[Region]:
        """Pairs at distance w or more: queries at (m − w)/s + w, keys at n/s."""
        share = 0.0 if self.slowed is None else 1 / self.slowed
        yield _left(m, n) >= self.near, (m - self.near) * share + self.near, n * share


class SelfExtendRotaryPositionalEncoding(FarRotaryPositionalEncoding):
    """logit(m, n) = RoPE's at distance m − n below w, and at ⌊m/G⌋ − ⌊n/G⌋ + w − ⌊w/G⌋ from there on.

    Self-Extend, Jin et al. 2024 (https://arxiv.org/abs/2401.01325; https://github.com/datamllab/LongLM): far keys stand
    at the places of their groups of G = `group`. w is `window`; null: a quarter of L, the length that was trained. Up
    to w positions it is RoPE, and up to (L − w)·G + w positions no distance is beyond L. Made for a test, by
    `python -m posenc evaluate RUN --set encoding=self_extend`. Causal. Defined at every length.
    """

    source = "https://arxiv.org/abs/2401.01325"
    proof = ("formula",)
    depends_on = frozenset({"distance", "position"})

    def __init__(
        self,
        dim: int,
        num_heads: int,
        causal: bool,
        original_length: Length | None = None,
        window: int | None = None,
        group: int = 8,
        base: float = 10_000.0,
        layout: str = "interleaved",
        rotated: float | None = None,
    ) -> None:
        super().__init__(dim, num_heads, causal, original_length, base, layout, rotated)
        checks.positive(self, group=group, **checks.given(window=window))
        self.window, self.group = window, group

    @property
    def near(self) -> float:
        """w."""
        return max(1, self.trained // 4) if self.window is None else self.window

    def regions(self, m: Tensor, n: Tensor) -> Iterator[Region]:
        """Pairs at distance w or more: queries at ⌊m/G⌋ + w − ⌊w/G⌋, keys at ⌊n/G⌋."""
        query, key = ((p / self.group).floor() for p in (m, n))
        yield _left(m, n) >= self.near, query + (self.near - self.near // self.group), key


class DualChunkRotaryPositionalEncoding(FarRotaryPositionalEncoding):
    """logit(m, n) = RoPE's at m − n in one chunk of s; at min(m mod s + s, c) − n mod s in the next; at c − n mod s.

    Dual chunk attention (DCA), An et al. 2024 (https://arxiv.org/abs/2402.17463), as in the authors' code
    (https://github.com/HKUNLP/ChunkLlama): a key stands at its place in its chunk, a query of its chunk at its own, one
    of the next chunk as if both were one as far as c, and one of a later chunk at c, or at 2s − 1 where that is less.
    c is `reach`; null: three quarters of L, the length that was trained. s is c − `local`, at least 1; null: L/16, the
    width in which neighbours of two chunks keep their distance. Up to s positions it is RoPE. Made for a test, by
    `python -m posenc evaluate RUN --set encoding=dual_chunk`. Causal. Defined at every length.
    """

    source = "https://arxiv.org/abs/2402.17463"
    proof = ("formula",)
    depends_on = frozenset({"distance", "position"})

    def __init__(
        self,
        dim: int,
        num_heads: int,
        causal: bool,
        original_length: Length | None = None,
        reach: int | None = None,
        local: int | None = None,
        base: float = 10_000.0,
        layout: str = "interleaved",
        rotated: float | None = None,
    ) -> None:
        super().__init__(dim, num_heads, causal, original_length, base, layout, rotated)
        checks.positive(self, **checks.given(reach=reach))
        checks.positive(self, minimum=0, **checks.given(local=local))
        self.reach, self.local = reach, local
        self._check_chunks("reach", "local")

    def trained_at(self, length: int) -> None:
        super().trained_at(length)
        self._check_chunks("encoding.reach", "encoding.local")

    def _check_chunks(self, c: str, s: str) -> None:
        """Raise ConfigError, with these names for c and s, if they are known and a chunk would have no token."""
        if self.original_length is None and None in (self.reach, self.local):
            return
        local = self.furthest - self.near
        if self.near < 1:
            of = "" if self.reach is not None else f" (three quarters of the trained length, {self.trained})"
            raise ConfigError(
                f"{type(self).__name__}: chunks are {c} less {s}={local} tokens long, so {c} must be at least "
                f"{local + 1}, got {self.furthest}{of}; raise {c}, or lower {s}.",
                c, s,
            )  # fmt: skip

    @property
    def furthest(self) -> int:
        """c."""
        return max(1, self.trained * 3 // 4) if self.reach is None else self.reach

    @property
    def near(self) -> float:
        """s."""
        return self.furthest - (self.trained // 16 if self.local is None else self.local)

    def regions(self, m: Tensor, n: Tensor) -> Iterator[Region]:
        """Queries of the next chunk, then of later ones."""
        apart = _left(*((p / self.near).floor() for p in (m, n)))
        query, key = (p.remainder(self.near) for p in (m, n))
        yield apart == 1, (query + self.near).clamp(max=self.furthest), key
        yield apart >= 2, torch.full_like(m, min(2 * self.near - 1, self.furthest)), key
