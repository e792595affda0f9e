"""RoPE whose keys are moved by one token where they do not turn, so that one layer can find what followed a token."""

import torch
from torch import Tensor

from posenc.checks import ConfigError
from posenc.encodings.rope import RotaryPositionalEncoding
from posenc.positions.positions import Positions


class KeyOffsetRotaryPositionalEncoding(RotaryPositionalEncoding):
    """logit(m, n) = (RoPE's of q_m and k_n on what turns + q_m·k_{n−1} on what stands still) / √d.

    Partial key offset, ClassicLarry 2025 (https://github.com/KellerJordan/modded-nanogpt/pull/169): in dimensions
    without position, token n has the key of the token before it, with its own value. So a query finds what followed
    tokens similar to itself: induction in one layer. These dimensions are the pairs not in `kept` (the half with the
    lowest frequencies, as in the source) and the part of d not in `rotated` (as in a later version of the source). The
    first token of each document keeps its own key. The order of the tokens decides which token is before, not their
    positions. Deviations: frequencies are RoPE's (in the source they go from 1 to 1/1024), and every layer has the
    offset unless a mixture changes this (in the source layers with long windows have it). Defined at every length.
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
                f"{type(self).__name__} shifts the parts of keys that do not rotate, but with kept={kept:g} and "
                f"rotated={rotated} all turn; set kept=0.5.",
                "kept", "rotated",
            )  # fmt: skip
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
