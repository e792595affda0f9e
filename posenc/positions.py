"""Where the tokens of a sequence stand, and THE sign convention.

    distance = key position − query position        (negative looks left, positive looks right)

    query at 2, N = 5:      key        0   1   2   3   4
                            distance  −2  −1   0  +1  +2

Every encoding, kernel and figure in posenc takes distances from here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from posenc import checks


@dataclass(frozen=True)
class Positions:
    """The position of each token, as a whole-number id in [0, span) times a scale.

    ids          (b, N) whole numbers, b = 1 (shared by the batch) or B
    span         ids lie in [0, span), so the signed distances lie on a grid of M = 2·span − 1 values
    scale        length of one step (1; below 1 for position interpolation): positions are ids · scale
    consecutive  ids are o, o + 1, ..., o + N − 1: distance biases then need no gather, only a strided view
    """

    ids: Int[Tensor, "b N"]
    span: int
    scale: float = 1.0
    consecutive: bool = False

    @classmethod
    def arange(cls, length: int, device: torch.device | str | None = None) -> "Positions":
        """0, 1, ..., length − 1."""
        return cls(torch.arange(length, device=device)[None], span=length, consecutive=True)

    @property
    def length(self) -> int:
        return self.ids.shape[-1]

    @property
    def extent(self) -> float:
        """No position is larger than this: (span − 1) · scale. Known without looking at the ids."""
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
    def distance_index(self) -> Int[Tensor, "b N N"]:
        """For each (query, key) the column of its distance on the grid of `distances`."""
        return self.ids[:, None, :] - self.ids[:, :, None] + (self.span - 1)

    def shifted(self, offset: int) -> "Positions":
        """All positions moved by a common offset ≥ 0; no distance changes."""
        return replace(self, ids=self.ids + offset, span=self.span + offset)


class PositionScheme:
    """Says at which positions the tokens of a sequence stand: 0, 1, ..., N − 1.

    The base class is the `contiguous` scheme. A scheme that draws positions in training uses torch's default
    generator, which the training loop seeds for every step from (seed, step).
    """

    def __call__(self, tokens: Int[Tensor, "B N"], *, training: bool, extra: int = 0) -> Positions:
        """Positions of these tokens and of `extra` more after them (a read-out's query token)."""
        return Positions.arange(tokens.shape[1] + extra, tokens.device)


class WithinNumber(PositionScheme):
    """The index inside a number: 1, 2, ... along each run of digits, 0 at every other token.

        token     7 3 + 1 2 5 =          (digits 0 to 9)
        position  1 2 0 1 2 3 0          in training + k, k ~ U{0, ..., max_offset}, where it is not 0

    Abacus, McLeish et al. 2024 (https://arxiv.org/abs/2405.17399), with k drawn once a batch as in the authors' code,
    so that a table learns rows for numbers longer than those it is trained on; with the least significant digit first
    it aligns digits of equal place, as position coupling (Cho et al. 2024, https://arxiv.org/abs/2405.20671) does.

    digits      tokens that are digits
    max_offset  the largest k; 0 for none
    """

    def __init__(self, digits: Sequence[int], max_offset: int = 99) -> None:
        checks.positive(self, minimum=0, max_offset=max_offset)
        for digit in digits:
            checks.positive(self, minimum=0, digits=digit)
        self.digits, self.max_offset = sorted(set(digits)), max_offset

    def __call__(self, tokens: Int[Tensor, "B N"], *, training: bool, extra: int = 0) -> Positions:
        """Positions of these tokens, and 0 for `extra` more after them."""
        length = tokens.shape[1] + extra
        inside = torch.isin(tokens, torch.tensor(self.digits, device=tokens.device))
        order = torch.arange(1, tokens.shape[1] + 1, device=tokens.device)
        ids = order - (order * ~inside).cummax(1).values  # since the last token that is no digit
        if training:
            ids = ids + int(torch.randint(self.max_offset + 1, ())) * inside
        ids = torch.nn.functional.pad(ids, (0, extra))
        return Positions(ids, span=length + 1 + self.max_offset)
