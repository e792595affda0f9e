"""GRAPE-A: ALiBi with a slope that depends on the query and on the key."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from posenc import checks
from posenc.attention.bias import Dense
from posenc.attention.kernels import blocks
from posenc.encodings.alibi import slopes
from posenc.encodings.base import PositionalEncoding
from posenc.positions.positions import Positions

GATES = ("query_key", "query", "key")


class AdditiveGroupEncoding(PositionalEncoding):
    """bias[h](m, n) = −|t| · ω_h s_h · (softplus(v_h·q_m / √d) + softplus(u_h·k_n / √d)),  s_h = 2^(−8h/H).

    Additive GRAPE, Zhang et al. 2026 (https://arxiv.org/abs/2512.07805), equation 4.6: [q, 1, 0]ᵀ exp(tA)⁻ᵀ [k, 0, 1]
    with a generator A whose square is 0 and whose only number is the slope. Without content it is ALiBi. `gates` can
    leave out the query or the key. As in the authors' code (https://github.com/model-architectures/GRAPE), v and u have
    length 1, s_h are ALiBi's slopes, and ω_h = softplus(w_h) starts at 1; v and u start at N(0, 1/d). Each layer has
    its own w, v and u, as in that code. Deviation: |t|, so that keys on the right of a bidirectional encoder are
    penalised too. The paper's path integrals are `grape_ap` and, if the query does not set the steps, `forgetting`.
    Defined at every length.
    """

    source = "https://arxiv.org/abs/2512.07805"
    proof = ("formula",)
    size = "L·(2·D + H)"
    depends_on = frozenset({"|distance|", "content"})
    per_layer = True

    def __init__(self, dim: int, num_heads: int, gates: str = "query_key") -> None:
        super().__init__()
        checks.divisible(self, dim=dim, num_heads=num_heads)
        checks.one_of(self, GATES, gates=gates)
        self.dim, self.num_heads, self.gates = dim, num_heads, gates
        self.w = nn.Parameter(torch.empty(num_heads))
        for name, gate in (("v", "query"), ("u", "key")):
            directions = nn.Parameter(torch.empty(num_heads, dim // num_heads)) if gate in gates else None
            self.register_parameter(name, directions)
        self.v: nn.Parameter | None
        self.u: nn.Parameter | None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """ω = 1, v and u from N(0, 1/d)."""
        nn.init.constant_(self.w, float(torch.tensor(1.0, dtype=torch.float64).expm1().log()))
        for directions in (self.v, self.u):
            if directions is not None:
                nn.init.normal_(directions, std=directions.shape[-1] ** -0.5)

    def bias(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> Dense:
        dtype = torch.promote_types(q.dtype, torch.float32)
        rate = F.softplus(self.w.to(dtype)) * slopes(self.num_heads).to(q.device, dtype)
        query, key = (_gate(at, y.to(dtype)) for at, y in ((self.v, q), (self.u, k)))
        distance = (positions.distance_index - (positions.span - 1)).abs().to(dtype) * positions.scale
        return Dense((-(query[..., None] + key[..., None, :]) * rate[:, None, None] * distance[:, None]).to(q.dtype))


def _gate(directions: Tensor | None, y: Tensor) -> Tensor:
    """(B, H, N): softplus(v_h·y / √d), 0 without directions."""
    if directions is None:
        return y.new_zeros(y.shape[:-1])
    with blocks.without_autocast(y):
        unit = F.normalize(directions.to(y.dtype), dim=-1)
        return F.softplus((y * unit[:, None]).sum(-1) * y.shape[-1] ** -0.5)
