"""CABLE: context-aware biases that add up between query and key."""

from torch import Tensor
from torch.nn import functional as F

from posenc.encodings.forgetting import ForgettingPositionalBias


class CABLEPositionalBias(ForgettingPositionalBias):
    """bias[h](m, n) = −Σ_{s=n+1..m} softplus(w_h·x_s + b_h).

    CABLE, Veisi et al. 2025 (https://arxiv.org/abs/2503.08067), with the authors' code: w N(0, 0.02²), b 0, so each
    token starts at −ln 2 in every head. It is the forgetting gate with the signs of w and b changed. Deviation: logits
    are scaled by 1/√d (the released code does not scale q·k). Each layer has its own w and b, as in that code. It uses
    the order of the tokens, not position ids. Causal. Defined at every length.
    """

    source = "https://arxiv.org/abs/2503.08067"
    proof = ("formula",)

    def __init__(self, dim: int, num_heads: int, causal: bool) -> None:
        super().__init__(dim, num_heads, causal, start=0.0)

    def reset_parameters(self) -> None:
        """w from N(0, 0.02²), b = 0."""
        self.gate.weight.data.normal_(std=0.02)
        self.gate.bias.data.zero_()

    def decay(self, x: Tensor) -> Tensor:
        return -F.softplus(self.gate(x))
