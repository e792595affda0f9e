"""GRAPE-M: RoPE with learned planes and frequencies."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posenc import checks
from posenc.attention.kernels import blocks
from posenc.encodings.rope import RotaryPositionalEncoding
from posenc.positions.positions import Positions


class MultiplicativeGroupEncoding(RotaryPositionalEncoding):
    """q ← exp(p L) q, and k alike,  L = Σ_i θ_i (b_i a_iᵀ − a_i b_iᵀ),  i = 1..d/2.

    Multiplicative GRAPE, Zhang et al. 2026 (https://arxiv.org/abs/2512.07805), section 3.1: a token at p is turned by
    p·θ_i in the plane of a_i and b_i (Rodrigues' formula). The planes are orthogonal to each other: a_1, b_1, a_2, ...
    are the columns of B = exp(S), where S is a skew matrix of each head. S starts at 0; then B has the coordinate
    planes of RoPE. q and k are turned in B's coordinates and stay in them, which changes no logit. All heads share
    θ_i = exp(λ_i / `slowed`), which starts at RoPE's θ_i. λ is divided so that θ learns more slowly, as in the authors'
    code (https://github.com/model-architectures/GRAPE). That code trains only θ (`learned_planes: false`). Each layer
    has its own S and λ, as in that code. Every generator has the form of L, even a sum of planes that do not commute.
    Without `model.qk_norm=rms`, the weights of queries and keys could contain B as well. The contextual form is left
    out, because the authors' code and its comments contradict each other there.
    Defined at every length.
    """

    source = "https://arxiv.org/abs/2512.07805"
    proof = ("formula",)
    size = "L·(H·d·(d − 1) + d)/2"
    per_layer = True

    def __init__(
        self, dim: int, num_heads: int, base: float = 10_000.0, learned_planes: bool = True, slowed: float = 16.0
    ) -> None:
        super().__init__(dim, num_heads, base)
        checks.boolean(self, learned_planes=learned_planes)
        checks.number(self, low=0, open_low=True, slowed=slowed)
        self.learned_planes, self.slowed = learned_planes, slowed
        pairs = self.width * (self.width - 1) // 2
        self.log_theta = nn.Parameter(torch.empty(self.width // 2))
        self.skew = nn.Parameter(torch.empty(num_heads, pairs)) if learned_planes else None
        self.register_buffer("above", torch.triu_indices(self.width, self.width, 1), persistent=False)
        self.above: Tensor
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """RoPE: its frequencies, and the coordinate planes."""
        theta = super().rates(Positions.arange(1, self.log_theta.device), torch.float32)
        self.log_theta.copy_(self.slowed * theta.log())
        if self.skew is not None:
            nn.init.zeros_(self.skew)

    def rates(self, positions: Positions, dtype: torch.dtype) -> Tensor:
        return (self.log_theta.to(dtype) / self.slowed).exp()

    def planes(self, skew: Tensor) -> Float[Tensor, "H d d"]:
        """B = exp(S), whose columns 2i and 2i + 1 are a_i and b_i."""
        upper = skew.new_zeros(self.num_heads, self.width, self.width)
        upper = upper.index_put((torch.arange(self.num_heads, device=skew.device)[:, None], *self.above), skew)
        return torch.linalg.matrix_exp(upper - upper.mT)

    def rotate(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> tuple[Tensor, Tensor]:
        if self.skew is None:
            return super().rotate(x, q, k, positions)
        dtype = torch.promote_types(q.dtype, torch.float32)
        with blocks.without_autocast(q):  # autocast would round the planes to bfloat16
            planes = self.planes(self.skew.to(dtype))
            one, other = (y.to(dtype) @ planes for y in (q, k))
        one, other = super().rotate(x, one, other, positions)
        return one.to(q.dtype), other.to(k.dtype)
