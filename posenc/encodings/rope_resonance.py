"""Resonance RoPE: the wavelength of every pair is a whole number of positions."""

import math

import torch
from torch import Tensor

from posenc.encodings.rope import RotaryPositionalEncoding
from posenc.encodings.rope_yarn import YarnRotaryPositionalEncoding
from posenc.positions.positions import Positions


class ResonanceRotaryPositionalEncoding(RotaryPositionalEncoding):
    """RoPE with θ_i = 2π / round(λ_i),  λ_i = 2π base^(2i/r).

    Resonance RoPE, Wang et al. 2024 (https://arxiv.org/abs/2403.00071; https://github.com/sheryc/resonance_rope):
    wavelengths are whole numbers of positions. So a pair that makes a full turn in the trained length has no new
    angles in longer sequences. The lowest frequencies, which make no full turn in training, still have new angles.
    Defined at every length.
    """

    source = "https://arxiv.org/abs/2403.00071"
    proof = ("formula",)

    def rates(self, positions: Positions, dtype: torch.dtype) -> Tensor:
        wavelength = 2 * math.pi / super().rates(positions, torch.float64)  # the same rounding for every dtype
        return (2 * math.pi / wavelength.round()).to(dtype)


class ResonanceYarnRotaryPositionalEncoding(ResonanceRotaryPositionalEncoding, YarnRotaryPositionalEncoding):
    """RoPE with θ_i = 2π / round(2π/θ_i) of YaRN's θ_i, and YaRN's factor of the logits.

    Resonance YaRN, Wang et al. 2024 (https://arxiv.org/abs/2403.00071): YaRN for the frequencies that make no turn in
    the trained length, whole wavelengths for those that do. Arguments are those of YaRN. Defined at every length; made
    for up to s times the trained length.
    """

    source = "https://arxiv.org/abs/2403.00071"
    proof = ("formula",)
