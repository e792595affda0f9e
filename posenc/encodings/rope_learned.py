"""RoPE whose frequencies are learned."""

import torch
from torch import Tensor, nn

from posenc.encodings.rope import RotaryPositionalEncoding
from posenc.positions.positions import Positions


class LearnedRotaryPositionalEncoding(RotaryPositionalEncoding):
    """(q_2i + i q_2i+1) ← (q_2i + i q_2i+1) · exp(i p θ_i), and k alike,  θ learned, θ_i = base^(−2i/d) at the start.

    RoPE (https://arxiv.org/abs/2104.09864) with its d/2 frequencies as parameters, shared by all heads and, unless
    `model.encoding_per_layer`, by all layers; the `learned_freq` of rotary-embedding-torch
    (https://github.com/lucidrains/rotary-embedding-torch). `grape_m` learns planes too. Defined at every length.
    """

    source = "https://arxiv.org/abs/2104.09864"
    proof = ("rotary-embedding-torch",)
    size = "d/2"

    def __init__(self, dim: int, num_heads: int, base: float = 10_000.0, layout: str = "interleaved") -> None:
        super().__init__(dim, num_heads, base, layout)
        self.theta = nn.Parameter(torch.empty(self.width // 2))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """RoPE's frequencies."""
        self.theta.copy_(super().rates(Positions.arange(1, self.theta.device), torch.float32))

    def rates(self, positions: Positions, dtype: torch.dtype) -> Tensor:
        return self.theta.to(dtype)
