"""RoPE scaled to lengths above the trained length, by one factor for all frequencies or by another base."""

import torch
from torch import Tensor

from posenc import checks
from posenc.checks import ConfigError
from posenc.encodings.rope import RotaryPositionalEncoding
from posenc.positions.positions import Positions
from posenc.positions.schemes import Length, OriginalLength


class LinearlyScaledRotaryPositionalEncoding(RotaryPositionalEncoding):
    """RoPE with θ_i = base^(−2i/r) / s.

    Position interpolation, Chen et al. 2023 (https://arxiv.org/abs/2306.15595): positions are divided by s. So at s
    times the trained length no pair turns further than in training without it. It is used at every length, also in
    training. Defined at every length; made for up to s times the length of a training without it.
    """

    source = "https://arxiv.org/abs/2306.15595"
    proof = ("rotary-embedding-torch", "transformers")

    def __init__(
        self,
        dim: int,
        num_heads: int,
        factor: float = 4.0,
        base: float = 10_000.0,
        layout: str = "interleaved",
        rotated: float | None = None,
    ) -> None:
        super().__init__(dim, num_heads, base, layout, rotated)
        checks.number(self, low=1, high=1e6, factor=factor)
        self.factor = factor

    def rates(self, positions: Positions, dtype: torch.dtype) -> Tensor:
        return super().rates(positions, dtype) / self.factor


class NTKScaledRotaryPositionalEncoding(RotaryPositionalEncoding):
    """RoPE with θ_i = (base · s^(r/(r−2)))^(−2i/r).

    NTK-aware scaling (bloc97 2023; section 3.1 of YaRN, https://arxiv.org/abs/2309.00071): the base is larger, so that
    the highest frequency does not change and the lowest is s times slower. Defined at every length; made for up to s
    times the trained length.
    """

    source = "https://arxiv.org/abs/2309.00071"
    proof = ("rotary-embedding-torch",)

    def __init__(
        self,
        dim: int,
        num_heads: int,
        factor: float = 4.0,
        base: float = 10_000.0,
        layout: str = "interleaved",
        rotated: float | None = None,
    ) -> None:
        super().__init__(dim, num_heads, base, layout, rotated)
        checks.number(self, low=1, high=1e6, factor=factor)
        if self.width == 2:
            raise ConfigError(f"{type(self).__name__} needs a head width of at least 4, got 2; raise model.dim.")
        self.factor = factor

    def stretch(self, positions: Positions) -> float | Tensor:
        """s, a number or (b, 1)."""
        return self.factor

    def rates(self, positions: Positions, dtype: torch.dtype) -> Tensor:
        exponent = self.width / (self.width - 2)
        pair = torch.arange(self.width // 2, device=positions.ids.device, dtype=dtype)
        return (self.base * self.stretch(positions) ** exponent) ** (-2 * pair / self.width)


class DynamicNTKRotaryPositionalEncoding(OriginalLength, NTKScaledRotaryPositionalEncoding):
    """RoPE with θ_i = (base · s^(r/(r−2)))^(−2i/r),  s = max(1, factor · (N / L) − (factor − 1)).

    Dynamic NTK scaling (emozilla 2023; section 3.3 of YaRN, https://arxiv.org/abs/2309.00071, in the form of Hugging
    Face transformers, whose factor 1 is the paper's s = N/L). N is the largest position of a sequence plus one, L the
    number of positions in training (posenc.positions.schemes.OriginalLength): up to L it is plain RoPE, beyond, the
    base follows the sequence. Defined at every length.

    Deviation from transformers: N is that of each sequence, not of the batch, so that no sequence changes another.
    """

    source = "https://arxiv.org/abs/2309.00071"
    proof = ("transformers",)
    depends_on = frozenset({"distance", "extent"})
    one_pass = "each new token rotates all earlier keys again"

    def __init__(
        self,
        dim: int,
        num_heads: int,
        original_length: Length | None = None,
        factor: float = 1.0,
        base: float = 10_000.0,
        layout: str = "interleaved",
        rotated: float | None = None,
    ) -> None:
        super().__init__(dim, num_heads, factor, base, layout, rotated)
        self._set(original_length)

    def stretch(self, positions: Positions) -> Tensor:
        """s of each sequence, (b, 1), or one for all, (1,)."""
        here = (positions.ids.amax(1, keepdim=True) + 1) * positions.scale
        stretch = (self.factor * here / self.trained - (self.factor - 1)).clamp(min=1)
        return stretch[0] if len(stretch) == 1 else stretch
