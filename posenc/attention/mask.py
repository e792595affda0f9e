"""Which keys a query may see. This depends on the order in the sequence and on the user, not on position ids."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from posenc.checks import ConfigError
from posenc.positions.positions import Positions


@dataclass(frozen=True)
class Mask:
    """Which keys a query may see.

    causal  a query sees no key to its right
    window  a query sees no key more than `window` places away (None: no limit)
    own     (b, h, M, N), b = 1 or B, h = 1 or H: a query sees only keys where this is True. If a query, such as
            padding, would see no key, it sees all keys, so that its output is not NaN; nobody should read that output.
            Only attention uses `own`. An encoding that sums over tokens still counts hidden tokens; to hide them from
            the encoding too, use documents (see Positions)
    """

    causal: bool = False
    window: int | None = None
    own: Bool[Tensor, "b h M N"] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Raise ConfigError if the own mask has another shape or type."""
        if self.own is not None and (self.own.dtype != torch.bool or self.own.ndim != 4):
            raise ConfigError(
                f"Mask: own must be booleans of shape (batch, heads, queries, keys), got {tuple(self.own.shape)}, "
                f"{self.own.dtype}; give an axis of 1 if all sequences or heads share a mask."
            )

    def fit(self, logits: Float[Tensor, "B H *s"]) -> None:
        """Raise ConfigError if the own mask has another number of sequences or heads, because it would broadcast."""
        if self.own is not None and any(
            n not in (1, m) for n, m in zip(self.own.shape, logits.shape[:2], strict=False)
        ):
            raise ConfigError(
                f"Mask: own of shape {tuple(self.own.shape)} does not fit {logits.shape[0]} sequences and "
                f"{logits.shape[1]} heads; give as many, or an axis of 1 if all share a mask."
            )

    @property
    def open(self) -> bool:
        """Whether every key is seen."""
        return not self.causal and self.window is None and self.own is None

    def allowed(self, length: int, device: torch.device | None = None) -> Bool[Tensor, "N N"] | None:
        """True where query (row) may see key (column); None if every key is seen."""
        return self.between(slice(0, length), slice(0, length), device)

    def seen(self, positions: Positions) -> Bool[Tensor, "M N"] | Bool[Tensor, "b h M N"] | None:
        """`allowed` for the M queries, without keys of other documents and without keys that `own` hides."""
        keys, documents, allowed = positions.at_keys, positions.documents, None
        N = keys.length
        if self.window is not None or (self.causal and positions.before < N - 1):  # otherwise the last token sees all
            allowed = self.between(slice(positions.before, N), slice(0, N), positions.ids.device)
        if documents is not None and keys.documents is not None:
            same = (documents[:, :, None] == keys.documents[:, None, :])[:, None]
            allowed = same if allowed is None else same & allowed
        if self.own is None:
            return allowed
        if self.own.shape[-2:] != (positions.length, N):
            raise ConfigError(
                f"Mask: own has {self.own.shape[-2]} queries and {self.own.shape[-1]} keys, but there are "
                f"{positions.length} and {N}."
            )
        allowed = self.own if allowed is None else self.own & allowed
        return allowed | ~allowed.any(-1, keepdim=True)

    def between(self, queries: slice, keys: slice, device: torch.device | None = None) -> Bool[Tensor, "m n"] | None:
        """`allowed` for some queries and keys."""
        if not self.causal and self.window is None:
            return None
        m, n = (torch.arange(places.start, places.stop, device=device) for places in (queries, keys))
        return self._sees(n[None, :] - m[:, None])

    def reach(self, queries: slice, length: int) -> slice:
        """The keys from the first to the last that at least one of the queries sees."""
        first = 0 if self.window is None else max(0, queries.start - self.window)
        last = length if self.window is None else min(length, queries.stop + self.window)
        return slice(first, min(last, queries.stop) if self.causal else last)

    def edges(self, queries: slice, keys: slice) -> Iterator[slice]:
        """The keys in `reach` that some of the queries see and others do not: left edge, then right edge."""
        left = keys.start if self.window is None else min(keys.stop, max(keys.start, queries.stop - 1 - self.window))
        right = keys.stop if self.window is None else queries.start + self.window + 1
        right = min(keys.stop, queries.start + 1 if self.causal else right)
        ends = (slice(keys.start, keys.stop),) if left >= right else (slice(keys.start, left), slice(right, keys.stop))
        return (end for end in ends if end.start < end.stop)

    def keys_seen(self, positions: Positions) -> Int[Tensor, " M"] | Int[Tensor, "b h M"]:
        """How many keys each query sees."""
        length, device = positions.at_keys.length, positions.ids.device
        if positions.documents is not None or self.own is not None:
            seen = self.seen(positions)
            assert seen is not None
            return seen.sum(-1)
        before = torch.arange(length, device=device)
        sides = (before,) if self.causal else (before, before.flip(0))
        reach = length if self.window is None else self.window
        seen = 1 + sum((side.clamp(max=reach) for side in sides), torch.zeros_like(before))
        return seen[positions.before :]

    def allowed_distances(self, length: int, device: torch.device | None = None) -> Bool[Tensor, " M"] | None:
        """True where a key at distance −(N − 1) .. N − 1 may be seen; None if every key is seen."""
        return None if self.open else self._sees(torch.arange(1 - length, length, device=device))

    def _sees(self, distance: Tensor) -> Tensor:
        allowed = distance <= 0 if self.causal else torch.ones_like(distance, dtype=torch.bool)
        return allowed if self.window is None else allowed & (distance.abs() <= self.window)
