"""The Forgetting Transformer: a bias that decays by what lies between."""

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
    scales down what lies before it. x is the layer's input. A difference of cumulative sums, in float32 at least.
    Start: w N(0, 1/D), b = `start`: 0 as in the authors' code, where a token forgets half; 5, of x-transformers'
    data-dependent ALiBi, forgets 0.7 %. Each layer has a gate of its own, as in the authors' code
    (https://github.com/zhixuan-lin/forgetting-transformer). Position ids are not used: the order of the tokens is.
    Causal. Defined at every length.
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
        """(B, N, H): the logarithm of what each token lets through, ≤ 0."""
        return F.logsigmoid(self.gate(x))

    def bias(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> Dense:
        step = self.decay(x)
        total = step.to(torch.promote_types(step.dtype, torch.float32)).cumsum(1).transpose(1, 2)
        return Dense((total[..., positions.before :, None] - total[..., None, :]).to(q.dtype))
