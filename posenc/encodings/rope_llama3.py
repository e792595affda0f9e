"""Llama 3's RoPE: the scaling of a frequency depends on its wavelength."""

import math

import torch
from torch import Tensor

from posenc import checks
from posenc.encodings.rope import RotaryPositionalEncoding
from posenc.positions.positions import Positions
from posenc.positions.schemes import Length, OriginalLength


class Llama3RotaryPositionalEncoding(OriginalLength, RotaryPositionalEncoding):
    """RoPE with θ_i ← (γ_i + (1 − γ_i)/s) θ_i,  γ = clip((L/λ_i − low) / (high − low), 0, 1),  λ_i = 2π/θ_i.

    Llama 3.1 (https://arxiv.org/abs/2407.21783; the rule is in the released code, not in the paper). L is the trained
    length, and L/λ_i the number of turns of pair i in it. Pairs with more than `high_turns` turns keep their frequency;
    pairs with fewer than `low_turns` are s times slower. Defined at every length; made for up to s times L.
    """

    source = "https://arxiv.org/abs/2407.21783"
    proof = ("transformers", "formula")

    def __init__(
        self,
        dim: int,
        num_heads: int,
        original_length: Length | None = None,
        factor: float = 4.0,
        low_turns: float = 1.0,
        high_turns: float = 4.0,
        base: float = 10_000.0,
        layout: str = "interleaved",
        rotated: float | None = None,
    ) -> None:
        super().__init__(dim, num_heads, base, layout, rotated)
        checks.number(self, low=1, factor=factor)
        checks.number(self, low=0, low_turns=low_turns)
        checks.number(self, low=low_turns, open_low=True, high_turns=high_turns)
        self.factor = factor
        self.low_turns, self.high_turns = low_turns, high_turns
        self._set(original_length)

    def rates(self, positions: Positions, dtype: torch.dtype) -> Tensor:
        theta = super().rates(positions, dtype)
        turns = self.trained * theta / (2 * math.pi)
        keep = ((turns - self.low_turns) / (self.high_turns - self.low_turns)).clamp(0, 1)
        return torch.lerp(theta / self.factor, theta, keep)
