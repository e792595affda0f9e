"""FoPE: each pair turns with a mixture of frequencies. Frequencies without a full turn in training are set to 0."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posenc import checks
from posenc.attention.kernels import blocks
from posenc.encodings.rope import RotaryPositionalEncoding, angles, turn
from posenc.positions.positions import Positions
from posenc.positions.schemes import Length, OriginalLength


class FourierRotaryPositionalEncoding(OriginalLength, RotaryPositionalEncoding):
    """(q_2i + i q_2i+1) ← (q_2i + i q_2i+1) · (Σ_j a_hji cos(p θ_j) + i Σ_j b_hji sin(p θ_j)), and k alike.

    Fourier position embedding (FoPE), Hua et al. 2024 (https://arxiv.org/abs/2412.17739), in the form of the paper's
    code. θ_j are the K frequencies of RoPE that make at least one turn in the trained length L. The first
    c = min(K, d/4) pairs turn. The columns of a and b are the unit vector of the frequency ⌈iK/c⌉ plus noise
    N(0, `gain`² · 2/(c(K + H))) of H heads, divided by their sums. They are drawn for each head at the start and are
    not trained. The noise is that of `xavier_normal_` on a tensor (H, K, c), as in the code. All other pairs are
    multiplied by 1 + i, so that their part of the logit counts twice. This is no rotation: a logit depends on both
    places and not only on their distance. If no frequency makes a turn, nothing turns. Defined at every length.

    Deviations, which keep values bounded: the code takes the frequency ⌈K/c⌉·i, which is the same unless K is between
    c and 2c − 1. In that case it goes past K, and the last columns are only noise, divided by its sum. A sum below 0.1
    counts as 0.1. `gain` is at most 1.
    """

    source = "https://arxiv.org/abs/2412.17739"
    proof = ("formula",)
    depends_on = frozenset({"distance", "position"})

    def __init__(
        self,
        dim: int,
        num_heads: int,
        original_length: Length | None = None,
        gain: float = 0.3,
        base: float = 10_000.0,
        layout: str = "interleaved",
    ) -> None:
        super().__init__(dim, num_heads, base, layout)
        checks.number(self, low=0, high=1, gain=gain)
        self.gain = gain
        self._set(original_length)
        self.register_buffer("noise", torch.empty(2, num_heads, self.width // 2, self.width // 2))
        self.noise: Tensor
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The noise, N(0, 1), of a and of b."""
        nn.init.normal_(self.noise)

    def coefficients(self, kept: int) -> Float[Tensor, "2 H K c"]:
        """a and b, for K frequencies and c pairs."""
        pairs = min(kept, max(1, self.width // 4))
        noise = self.noise[..., :kept, :pairs] * (self.gain * math.sqrt(2 / max(1, pairs * (kept + self.num_heads))))
        frequency = torch.arange(kept, device=noise.device)[:, None]
        own = torch.arange(pairs, device=noise.device).mul(kept).add(pairs - 1) // max(1, pairs)
        mixed = noise + (frequency == own)
        return mixed / mixed.sum(-2, keepdim=True).clamp(min=0.1)

    def rotate(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> tuple[Tensor, Tensor]:
        dtype = torch.promote_types(q.dtype, torch.float32)
        theta = self.rates(positions, dtype)
        kept = sum(rate >= 2 * math.pi / self.trained for rate in self._rates())
        angle = angles(positions, theta[:kept])  # (b, 1, N, K)
        a, b = self.coefficients(kept).to(dtype)
        rest = (0, self.width // 2 - a.shape[-1])
        with blocks.without_autocast(q):  # autocast would round the mixtures to bfloat16
            cos, sin = (nn.functional.pad(y, rest, value=1.0) for y in (angle.cos() @ a, angle.sin() @ b))
        return turn(q, cos, sin, self.layout), turn(k, cos, sin, self.layout)

    def _rates(self) -> list[float]:
        return [self.base ** (-2 * pair / self.width) for pair in range(self.width // 2)]
