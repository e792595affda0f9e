"""CoPE: positions are counted in tokens that the query cares about."""

import torch
from torch import Tensor, nn

from posenc import checks
from posenc.bias import Dense, earlier
from posenc.encodings.base import PositionalEncoding
from posenc.positions import Positions


class ContextualPositionalEncoding(PositionalEncoding):
    """logit(m, n) += q_m · e[p(m, n)],  p(m, n) = Σ_{s=n..m} σ(q_m·k_s / √d), at most max_count − 1.

    CoPE, Golovneva et al. 2024 (https://arxiv.org/abs/2405.18719), with the authors' code where the paper is silent:
    gates see the scaled logits, q·e is not scaled. e holds max_count vectors of width d, shared by heads, and is
    interpolated between whole counts. Starts at zero, so step 0 is exactly NoPE. Position ids are not used: the order
    of the tokens is. Causal. max_count·d parameters. Defined at every length; counts that training did not reach are
    untrained.
    """

    depends_on = frozenset({"order", "content"})

    def __init__(self, dim: int, num_heads: int, causal: bool, max_count: int = 64) -> None:
        super().__init__()
        checks.divisible(self, dim=dim, num_heads=num_heads)
        checks.positive(self, minimum=2, max_count=max_count)
        checks.under_a_causal_mask(self, causal=causal)
        checks.held(self, max_count=max_count, dim=dim)
        self.dim, self.num_heads, self.causal, self.max_count = dim, num_heads, causal, max_count
        self.table = nn.Parameter(torch.zeros(max_count, dim // num_heads))

    def reset_parameters(self) -> None:
        """Zero: no position at step 0."""
        nn.init.zeros_(self.table)

    def bias(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> Dense:
        gates = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).sigmoid() * earlier(positions.length, q.device)
        gates = gates.to(torch.promote_types(gates.dtype, torch.float32))  # bfloat16 cannot count past 256
        count = gates.flip(-1).cumsum(-1).flip(-1).clamp(max=self.max_count - 1)
        whole = count.detach().floor()
        at_whole = q @ self.table.T.to(q.dtype)  # (B, H, N, max_count)
        below = at_whole.gather(-1, whole.long())
        above = at_whole.gather(-1, (whole + 1).clamp(max=self.max_count - 1).long())
        return Dense(torch.lerp(below, above, (count - whole).to(below.dtype)))
