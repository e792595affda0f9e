"""How loud position enters beside the tokens, and how a learned table is read between its rows."""

from collections.abc import Iterable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from posenc import checks
from posenc.attention.kernels import blocks
from posenc.checks import ConfigError

Rms = float | Literal["raw"]
"""Root mean square of the position vectors: a number, or `raw` for the scale of the publication."""


def check_rms(owner: object, rms: Rms) -> None:
    """A positive number or the word raw."""
    if rms != "raw":
        if isinstance(rms, str):
            raise ConfigError(f"{type(owner).__name__}: rms must be a positive number or raw, got {rms!r}.")
        checks.number(owner, low=0, open_low=True, rms=rms)


def in_float32(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    """The layers one after the other, in float32 at least, whatever the type of their weights and under autocast.

    bfloat16 holds whole numbers up to 256 only, so most neighbouring positions beyond are one number in it.
    """
    with blocks.without_autocast(x):
        for layer in layers:
            if isinstance(layer, nn.Linear):
                dtype = torch.promote_types(layer.weight.dtype, torch.float32)
                x = F.linear(x.to(dtype), layer.weight.to(dtype), layer.bias.to(dtype))
            else:
                x = layer(x)
    return x


def interpolate(table: Float[Tensor, "*h R c"], at: Float[Tensor, "*s"]) -> Float[Tensor, "..."]:
    """(*h, *s, c): a table's rows at real-valued coordinates in [0, R − 1]; at whole ones exactly those rows."""
    floor = at.floor()
    low = floor.long()
    weight = (at - floor).to(table.dtype)[..., None]
    below = table[..., low, :]
    above = table[..., (low + 1).clamp(max=table.shape[-2] - 1), :]
    return torch.lerp(below, above, weight)
