"""The positions of tokens, and the sign convention.

    distance = key position − query position        (negative looks left, positive looks right)

    query at 2, N = 5:      key        0   1   2   3   4
                            distance  −2  −1   0  +1  +2

Every encoding, kernel and figure in posenc has this convention.
"""

import math
from dataclasses import InitVar, dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from posenc.checks import ConfigError


@dataclass(frozen=True)
class Positions:
    """The position of each token, as a whole-number id in [0, span) times a scale.

    ids          (b, N) whole numbers, b = 1 (shared by the batch) or B
    span         ids lie in [0, span), so the signed distances lie on a grid of M = 2·span − 1 values
    scale        length of one step (1; below 1 for position interpolation): positions are ids · scale
    consecutive  ids are o, o + 1, ..., o + N − 1. A distance bias then needs no gather, only a strided view
    documents    (b, N) numbers, or None. Tokens with different numbers do not see each other. Each document that is
                 packed into a sequence has its own number, and so has padding
    keys         positions of the keys; None: the keys are the queries. Where it is given, all other fields are about
                 the M queries (see `last` and `apart.across`)
    among        whether the queries are the last M tokens of `keys`. If not, no query is before or after a key
    """

    ids: Int[Tensor, "b N"]
    span: int
    scale: float = 1.0
    consecutive: bool = False
    documents: Int[Tensor, "b N"] | None = None
    keys: "Positions | None" = None
    among: bool = False
    known: InitVar[bool] = False

    def __post_init__(self, known: bool) -> None:
        """Raise ConfigError if an id is outside [0, span), or if `consecutive` is set and the ids are not.

        Ids are not checked if they are `known` to be right, or if they are on a GPU, because the check would wait.
        """
        ids = self.ids
        if self.documents is not None and self.documents.shape != ids.shape:
            raise ConfigError(
                f"Positions: ids {tuple(ids.shape)} and documents {tuple(self.documents.shape)} must have one shape."
            )
        if self.keys is not None:
            self._check_keys(self.keys)
        if known or type(ids) is not Tensor or ids.device.type != "cpu" or torch.compiler.is_compiling():
            return
        if ids.ndim != 2 or ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
            raise ConfigError(
                f"Positions: ids must be whole numbers of shape (batch, length), got {tuple(ids.shape)}, {ids.dtype}."
            )
        if not (math.isfinite(self.scale) and self.scale >= 0):
            raise ConfigError(f"Positions: scale must be a number ≥ 0, got {self.scale}.")
        if not ids.numel():
            return
        low, high = (int(end) for end in ids.aminmax())
        if low < 0 or high >= self.span:
            raise ConfigError(f"Positions: ids must lie in [0, {self.span}), got {low} to {high}; raise span.")
        if self.consecutive and bool((ids.diff() != 1).any()):
            raise ConfigError("Positions: ids do not follow one another by steps of 1; leave consecutive=False.")

    @classmethod
    def arange(cls, length: int, device: torch.device | str | None = None) -> "Positions":
        """0, 1, ..., length − 1."""
        return cls(torch.arange(length, device=device)[None], span=length, consecutive=True, known=True)

    @classmethod
    def of_documents(cls, documents: Int[Tensor, "b N"]) -> "Positions":
        """Positions 0, 1, 2, ... in each document. A document is a run of neighbours with the same number.

        [[7, 7, 7, 4, 4, −1]] is a document of 3 tokens, one of 2, and padding. The ids are [[0, 1, 2, 0, 1, 0]].
        """
        place = torch.arange(documents.shape[-1], device=documents.device).expand_as(documents)
        first = torch.ones_like(documents, dtype=torch.bool)
        first[:, 1:] = documents[:, 1:] != documents[:, :-1]
        ids = place - torch.where(first, place, 0).cummax(-1).values
        return cls(ids, span=max(1, documents.shape[-1]), documents=documents, known=True)

    def _check_keys(self, keys: "Positions") -> None:
        alike = (keys.span, keys.scale, keys.documents is None) == (self.span, self.scale, self.documents is None)
        after = keys.consecutive or not self.consecutive if self.among else not self.consecutive
        if keys.keys is not None or not alike or not after or (self.among and keys.length < self.length):
            raise ConfigError("Positions: queries and keys differ in span, scale or order; use positions.last.")

    def last(self, count: int) -> "Positions":
        """The last `count` tokens are the queries, all tokens are the keys. Decoding reads a sequence in such steps."""
        if self.keys is not None or not 0 < count <= self.length:
            raise ConfigError(f"Positions: the last {count} of {self.length} tokens cannot be the queries of all.")
        if count == self.length:
            return self
        documents = None if self.documents is None else self.documents[:, -count:]
        return replace(self, ids=self.ids[:, -count:], documents=documents, keys=self, among=True, known=True)

    @property
    def at_keys(self) -> "Positions":
        """The positions of the keys."""
        return self if self.keys is None else self.keys

    @property
    def length(self) -> int:
        return self.ids.shape[-1]

    @property
    def before(self) -> int:
        """How many keys come before the first query. Raises ConfigError if the keys are another sequence."""
        if self.keys is not None and not self.among:
            raise ConfigError("Positions: tokens of another sequence than the keys have no order; use an open mask.")
        return self.at_keys.length - self.length

    @property
    def extent(self) -> float:
        """Upper limit of a position: (span − 1) · scale. It does not depend on the ids."""
        return (self.span - 1) * self.scale

    @property
    def values(self) -> Float[Tensor, "b N"]:
        """The positions themselves, ids · scale, in float32."""
        return self.ids.to(torch.float32) * self.scale

    @property
    def distances(self) -> Float[Tensor, " M"]:
        """All M = 2·span − 1 signed distances that can occur, from −extent to +extent, in float32."""
        grid = torch.arange(1 - self.span, self.span, device=self.ids.device, dtype=torch.float32)
        return grid * self.scale

    @property
    def distance_index(self) -> Int[Tensor, "b M N"]:
        """For each (query, key) the column of its distance on the grid of `distances`."""
        return self.at_keys.ids[:, None, :] - self.ids[:, :, None] + (self.span - 1)

    def fit(self, owner: object, x: Float[Tensor, "B *h M c"]) -> None:
        """Raise ConfigError if x has not as many tokens as there are queries. Without this check x would broadcast."""
        b, N = self.ids.shape
        if x.shape[-2] != N or b not in (1, x.shape[0]):
            raise ConfigError(
                f"{type(owner).__name__}: {x.shape[-2]} tokens (read-out included) but {N} positions, in {len(x)} and "
                f"{b} sequences; give each token a position, in one sequence for all or in as many."
            )

    def shifted(self, offset: int) -> "Positions":
        """The same positions plus a common offset ≥ 0. No distance changes."""
        if offset < 0:
            raise ConfigError(f"Positions: a shift must be ≥ 0, got {offset}.")
        keys = None if self.keys is None else self.keys.shifted(offset)
        return replace(self, ids=self.ids + offset, span=self.span + offset, keys=keys, known=True)
