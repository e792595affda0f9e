"""The feed-forward network of a block, plain or gated."""

from torch import Tensor, nn

from posenc import checks
from posenc.attention.projection import Projection
from posenc.checks import ConfigError

GATES: dict[str, nn.Module] = {"silu": nn.SiLU(), "gelu": nn.GELU("tanh")}
"""The gates: silu is SwiGLU (Llama and most later models), gelu is GeGLU in Gemma's form."""


def hidden_units(owner: object, dim: int, ratio: float, gate: str | None) -> int:
    """Width of the hidden layer, 0 for no MLP. Raises ConfigError if it cannot be built."""
    checks.number(owner, low=0, high=1e6, mlp_ratio=ratio)
    if gate is not None:
        checks.one_of(owner, GATES, mlp_gate=gate)
    hidden = round(ratio * dim)
    if ratio and not hidden:
        raise ConfigError(
            f"{type(owner).__name__}: mlp_ratio={ratio:g} times dim {dim} gives no hidden unit; set model.mlp_ratio=0 "
            "for no MLP."
        )
    checks.tensor_fits(owner, dim=dim, hidden=max(1, hidden) * (1 if gate is None else 2))
    return hidden


class Gated(nn.Module):
    """gate(x) · y of the two halves x and y of the input. Shazeer 2020 (https://arxiv.org/abs/2002.05202)."""

    def __init__(self, gate: str) -> None:
        super().__init__()
        self.gate = GATES[gate]

    def forward(self, x: Tensor) -> Tensor:
        """(..., 2 H) → (..., H)."""
        gate, value = x.chunk(2, -1)
        return self.gate(gate) * value


class MLP(nn.Sequential):
    """D → hidden → D: GELU(x W + b) V + c, or with a gate (gate(x W + b) · (x W' + b')) V + c."""

    def __init__(self, dim: int, hidden: int, gate: str | None) -> None:
        self.inputs = 1 if gate is None else 2
        middle = nn.GELU() if gate is None else Gated(gate)
        super().__init__(Projection(dim, self.inputs * hidden), middle, Projection(hidden, dim))
