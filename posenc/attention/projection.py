"""The parts that make queries, keys and values: linear layers, heads in groups, norms of queries and keys."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from posenc import checks
from posenc.checks import ConfigError

QK_NORMS = ("l2", "rms")
EPS = 1e-6
"""RMSNorm adds this to the mean square; most released models use this value."""


class Projection(nn.Linear):
    """A linear layer with initial weights N(0, 1/fan_in) and bias 0. An input of variance 1 gives output of variance 1.

    in_bfloat16  whether to multiply in bfloat16 and return it for weights of any type (posenc.training.precision)
    """

    in_bfloat16: bool = False

    def forward(self, input: Tensor) -> Tensor:
        """input · weightᵀ + bias."""
        if not self.in_bfloat16:
            return super().forward(input)
        bias = None if self.bias is None else self.bias.to(torch.bfloat16)
        return F.linear(input.to(torch.bfloat16), self.weight.to(torch.bfloat16), bias)

    def reset_parameters(self) -> None:
        """Draw the weight from N(0, 1/in_features); the bias is zero."""
        nn.init.normal_(self.weight, std=self.in_features**-0.5)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


def kv_heads(num_heads: int, num_kv_heads: int | None) -> int:
    """How many heads keys and values have. Raises ConfigError if num_heads is not a multiple of it.

    num_kv_heads  None: num_heads
    """
    if num_kv_heads is None:
        return num_heads
    checks.positive("SelfAttention", num_kv_heads=num_kv_heads)
    if num_heads % num_kv_heads:
        raise ConfigError(
            f"SelfAttention: num_heads {num_heads} is not a multiple of num_kv_heads {num_kv_heads}; set "
            f"model.num_kv_heads to a divisor of {num_heads}."
        )
    return num_kv_heads


def qk_norms(kind: str | None, width: int) -> nn.ModuleList | None:
    """The norm of queries and the norm of keys; None: no norms."""
    if kind is None:
        return None
    checks.one_of("SelfAttention", QK_NORMS, qk_norm=kind)
    return nn.ModuleList(nn.RMSNorm(width, EPS, kind == "rms") for _ in range(2))
