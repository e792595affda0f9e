"""RoPE whose keys stand a place later where they do not turn, so that one layer can find what followed a token."""

import torch
from torch import Tensor

from posenc.checks import ConfigError
from posenc.encodings.rope import RotaryPositionalEncoding
from posenc.positions.positions import Positions


class KeyOffsetRotaryPositionalEncoding(RotaryPositionalEncoding):
    """logit(m, n) = (RoPE's of q_m and k_n on what turns + q_m·k_{n−1} on what stands still) / √d.

    Partial key offset, ClassicLarry 2025 (https://github.com/KellerJordan/modded-nanogpt/pull/169): where a key carries
    no position, token n shows the key of the token before it and its own value, so that a query finds what followed
    tokens like itself: induction in one layer. What stands still are the pairs that `kept` leaves (the half with the
    lowest frequencies, as there) and what `rotated` leaves of d (as in a later version there). The first token, of each
    document, keeps its own key. The order of the tokens says which token is before, whatever its position. Deviations:
    frequencies are RoPE's, where there they run from 1 to 1/1024; every layer has the offset unless a mixture says
    otherwise, where there those with long windows have it. Defined at every length.
    """

    source = "https://github.com/KellerJordan/modded-nanogpt/pull/169"
    proof = ("formula",)
    depends_on = frozenset({"distance", "order"})
    reads_before = True

    def __init__(
        self,
        dim: int,
        num_heads: int,
        base: float = 10_000.0,
        layout: str = "interleaved",
        rotated: float | None = None,
        kept: float = 0.5,
    ) -> None:
        super().__init__(dim, num_heads, base, layout, rotated, kept)
        pairs = torch.arange(self.width // 2) < self.turning
        turns = pairs.repeat_interleave(2) if layout == "interleaved" else pairs.repeat(2)
        still = torch.ones(dim // num_heads, dtype=torch.bool)
        still[: self.width] = ~turns
        if not still.any():
            raise ConfigError(
                f"{type(self).__name__} moves keys where they do not turn, and with kept={kept:g} and "
                f"rotated={rotated} all turn; set encoding.kept=0.5."
            )
        self.register_buffer("still", still, persistent=False)
        self.still: Tensor

    def rotate(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> tuple[Tensor, Tensor]:
        moved = self.still
        if positions.documents is not None:
            documents = positions.documents
            same = torch.ones_like(documents, dtype=torch.bool)
            same[:, 1:] = documents[:, 1:] == documents[:, :-1]
            moved = moved & same[:, None, :, None]
        before = torch.cat((k[..., :1, :], k[..., :-1, :]), -2)
        return super().rotate(x, q, torch.where(moved, before, k), positions)
