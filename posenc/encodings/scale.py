"""The scale of position vectors relative to token embeddings, and reading a learned table between its rows."""

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
    """Raise ConfigError unless rms is a positive number or the word raw."""
    if rms != "raw":
        if isinstance(rms, str):
            raise ConfigError(f"{type(owner).__name__}: rms must be a positive number or raw, got {rms!r}.", "rms")
        checks.number(owner, low=0, open_low=True, rms=rms)


def in_float32(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Apply the layers one after another in float32 at least, for weights of every type and under autocast.

    bfloat16 has all whole numbers only up to 256. Above, most neighbouring positions are the same number.
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
    """(*h, *s, c): a table's rows at real coordinates in [0, R − 1]; at whole coordinates exactly the rows."""
    floor = at.floor()
    low = floor.long()
    weight = (at - floor).to(table.dtype)[..., None]
    below = table[..., low, :]
    above = table[..., (low + 1).clamp(max=table.shape[-2] - 1), :]
    return torch.lerp(below, above, weight)
