"""KERPLE: kernelised relative biases, a logarithm or a power of the distance."""

import torch
from torch import Tensor, nn

from posenc import checks
from posenc.attention.bias import ByDistance
from posenc.encodings.base import PositionalEncoding
from posenc.positions.positions import Positions


class KerpleLogPositionalBias(PositionalEncoding):
    """bias[h](t) = −r1_h · ln(1 + r2_h · |t|),  r1, r2 > 0.

    Chi et al. 2022 (https://arxiv.org/abs/2205.09821). Start as in the authors' code: r1 ~ U(0.01, 2), r2 ~ U(0.01, 1).
    Deviation: r is always positive, because r = exp(ρ) with ρ learned (the code clamps at 0.01). The paper's models are
    causal. The bias is symmetric, so a bidirectional encoder cannot tell left from right. All layers share r1 and r2,
    as in the authors' code (https://github.com/chijames/KERPLE). Defined at every length.
    """

    source = "https://arxiv.org/abs/2205.09821"
    proof = ("formula",)
    size = "2·H"
    depends_on = frozenset({"|distance|"})

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        checks.positive(self, maximum=checks.MAX_WIDTH, num_heads=num_heads)
        self.num_heads = num_heads
        self.raw = nn.Parameter(torch.empty(2, num_heads))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """r1 ~ U(0.01, 2), r2 ~ U(0.01, 1)."""
        self.raw[0].uniform_(0.01, 2).log_()
        self.raw[1].uniform_(0.01, 1).log_()

    def curve(self, r: Tensor) -> Tensor:
        """(H, M) from distances r ≥ 0."""
        r1, r2 = self.raw.to(torch.promote_types(self.raw.dtype, torch.float32)).exp()[..., None]
        return -r1 * torch.log1p(r2 * r)

    def bias(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> ByDistance:
        return ByDistance(self.curve(positions.distances.abs())[None, :, None])


class KerplePowerPositionalBias(KerpleLogPositionalBias):
    """bias[h](t) = −r1_h · |t|^r2_h,  r1 > 0, 0 < r2 < 2.

    Chi et al. 2022 (https://arxiv.org/abs/2205.09821): conditionally positive definite for exponents up to 2; ALiBi is
    r2 = 1. Start as in the authors' code: r1 ~ U(0.01, 1), r2 ~ U(0.02, 1.98). Deviation: r1 = exp(ρ1) and r2 = 2σ(ρ2)
    keep the bounds (the code clamps). The paper's models are causal. The bias is symmetric. All layers share r1 and r2,
    as in the authors' code. Defined at every length.
    """

    source = "https://arxiv.org/abs/2205.09821"
    proof = ("formula",)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """r1 ~ U(0.01, 1), r2 ~ U(0.02, 1.98)."""
        self.raw[0].uniform_(0.01, 1).log_()
        self.raw[1].uniform_(0.01, 0.99).logit_()

    def curve(self, r: Tensor) -> Tensor:
        """(H, M) from distances r ≥ 0."""
        raw = self.raw.to(torch.promote_types(self.raw.dtype, torch.float32))
        r1, r2 = raw[0].exp()[:, None], 2 * raw[1].sigmoid()[:, None]
        return -r1 * r**r2
