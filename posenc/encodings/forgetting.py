"""The Forgetting Transformer: a bias that decays with the tokens between query and key."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from posenc import checks
from posenc.attention.bias import Dense
from posenc.encodings.base import PositionalEncoding
from posenc.positions.positions import Positions


class ForgettingPositionalBias(PositionalEncoding):
    """bias[h](m, n) = Σ_{s=n+1..m} ln σ(w_h·x_s + b_h).

    Forgetting attention (FoX), Lin et al. 2025 (https://arxiv.org/abs/2503.02130), the data-dependent decay: each token
    reduces attention to the tokens before it. x is the layer's input. The bias is a difference of cumulative sums, in
    float32 at least. Start: w N(0, 1/D), b = `start`. With 0, as in the authors' code, a token forgets half; with 5, as
    in x-transformers' data-dependent ALiBi, it forgets 0.7 %. Each layer has its own gate, as in the authors' code
    (https://github.com/zhixuan-lin/forgetting-transformer). It uses the order of the tokens, not position ids. Causal.
    Defined at every length.
    """

    source = "https://arxiv.org/abs/2503.02130"
    proof = ("x-transformers", "formula")
    size = "L·H·(D + 1)"
    depends_on = frozenset({"order", "content"})
    causal_only = True
    reads_input = True
    per_layer = True

    def __init__(self, dim: int, num_heads: int, causal: bool, start: float = 0.0) -> None:
        super().__init__()
        checks.divisible(self, dim=dim, num_heads=num_heads)
        checks.under_a_causal_mask(self, causal=causal)
        checks.number(self, low=-float("inf"), start=start)
        self.dim, self.num_heads, self.causal, self.start = dim, num_heads, causal, start
        self.gate = nn.Linear(dim, num_heads)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """w from N(0, 1/D), b = start."""
        nn.init.normal_(self.gate.weight, std=self.dim**-0.5)
        nn.init.constant_(self.gate.bias, self.start)

    def decay(self, x: Tensor) -> Tensor:
        """(B, N, H): the logarithm of each token's gate, ≤ 0."""
        return F.logsigmoid(self.gate(x))

    def bias(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> Dense:
        step = self.decay(x)
        total = step.to(torch.promote_types(step.dtype, torch.float32)).cumsum(1).transpose(1, 2)
        return Dense((total[..., positions.before :, None] - total[..., None, :]).to(q.dtype))
