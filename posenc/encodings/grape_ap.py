"""GRAPE-AP: a bias that decays with the tokens between query and key that differ from the query."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from posenc import checks
from posenc.attention.bias import Dense
from posenc.attention.kernels import blocks
from posenc.attention.projection import EPS
from posenc.encodings.alibi import slopes
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.rope import angles, turn
from posenc.positions.positions import Positions


class PathIntegralGroupEncoding(PositionalEncoding):
    """bias[h](m, n) = s_h Σ_{l=n+1..m} ln σ(a_mh · R(p_l) â_lh / r),  s_h = 2^(−8h/H),  a = P x.

    Path-integral additive GRAPE, Zhang et al. 2026 (https://arxiv.org/abs/2512.07805), section 5: each token between
    the key and the query lowers the bias, and more so if it is less similar to the query. a are r = `width` numbers for
    each head, a linear map of the layer's input. â is a divided by its root mean square. R turns each pair of numbers
    by the token's position in radians, so a bias depends on places and not only on distances. With P = 0 it is ALiBi
    with slopes s_h ln 2. As in the authors' code (https://github.com/model-architectures/GRAPE), a_m is not divided
    (the paper divides both), and P starts at N(0, 1/(4D)). Each layer has its own P, as in that code. Causal.
    Defined at every length.
    """

    source = "https://arxiv.org/abs/2512.07805"
    proof = ("formula",)
    size = "L·H·width·D"
    depends_on = frozenset({"order", "content", "position"})
    causal_only = True
    reads_input = True
    per_layer = True

    def __init__(self, dim: int, num_heads: int, causal: bool, width: int = 8) -> None:
        super().__init__()
        checks.divisible(self, dim=dim, num_heads=num_heads)
        checks.under_a_causal_mask(self, causal=causal)
        checks.positive(self, maximum=checks.MAX_WIDTH, width=width)
        checks.even(self, "turns pairs", width=width)
        self.dim, self.num_heads, self.causal, self.width = dim, num_heads, causal, width
        self.project = nn.Linear(dim, num_heads * width, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """P from N(0, 1/(4D))."""
        nn.init.normal_(self.project.weight, std=0.5 * self.dim**-0.5)

    def bias(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> Dense:
        a = self.project(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        a = a.to(torch.promote_types(a.dtype, torch.float32))  # (B, H, N, r)
        angle = angles(positions.at_keys, a.new_ones(self.width // 2))
        there = turn(F.rms_norm(a, (self.width,), eps=EPS), angle.cos(), angle.sin(), "interleaved")
        before = positions.before
        with blocks.without_autocast(a):  # autocast would round the terms of the sum
            alike = a[:, :, before:] @ there.mT / self.width
        rate = slopes(self.num_heads).to(a.device, a.dtype)[:, None, None]
        total = (rate * F.logsigmoid(alike)).tril(before).cumsum(-1)
        return Dense((total[..., -1:] - total).to(q.dtype))
