"""What queries, keys and values are made by: linear layers, heads in groups, norms of queries and keys."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from posenc import checks
from posenc.checks import ConfigError

QK_NORMS = ("l2", "rms")
EPS = 1e-6
"""What RMSNorm adds to the mean square, as most released models do."""


class Projection(nn.Linear):
    """A linear layer that starts at N(0, 1/fan_in) with zero bias: unit-variance in, unit-variance out.

    bfloat16  whether to multiply and to answer in bfloat16, whatever the weights are (see posenc.training.precision)
    """

    bfloat16: bool = False

    def forward(self, input: Tensor) -> Tensor:
        """input · weightᵀ + bias."""
        if not self.bfloat16:
            return super().forward(input)
        bias = None if self.bias is None else self.bias.to(torch.bfloat16)
        return F.linear(input.to(torch.bfloat16), self.weight.to(torch.bfloat16), bias)

    def reset_parameters(self) -> None:
        """Draw the weight from N(0, 1/in_features); the bias is zero."""
        nn.init.normal_(self.weight, std=self.in_features**-0.5)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


def kv_heads(num_heads: int, num_kv_heads: int | None) -> int:
    """How many heads keys and values have. Raises ConfigError where those of queries do not split into as many groups.

    None  as many as queries
    """
    if num_kv_heads is None:
        return num_heads
    checks.positive("SelfAttention", num_kv_heads=num_kv_heads)
    if num_heads % num_kv_heads:
        raise ConfigError(
            f"SelfAttention: num_heads {num_heads} is no multiple of num_kv_heads {num_kv_heads}; set "
            f"model.num_kv_heads to a divisor of {num_heads}."
        )
    return num_kv_heads


def qk_norms(kind: str | None, width: int) -> nn.ModuleList | None:
    """The norm of queries and that of keys; None for neither."""
    if kind is None:
        return None
    checks.one_of("SelfAttention", QK_NORMS, qk_norm=kind)
    return nn.ModuleList(nn.RMSNorm(width, EPS, kind == "rms") for _ in range(2))
