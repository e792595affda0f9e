"""How loud position enters beside the tokens, and how a learned table is read between its rows."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from posenc import checks
from posenc.checks import ConfigError

Rms = float | Literal["raw"]
"""Root mean square of the position vectors: a number, or `raw` for the scale of the publication."""


def check_rms(owner: object, rms: Rms) -> None:
    """A positive number or the word raw."""
    if rms != "raw":
        if isinstance(rms, str):
            raise ConfigError(f"{type(owner).__name__}: rms must be a positive number or raw, got {rms!r}.")
        checks.number(owner, low=0, open_low=True, rms=rms)


def interpolate(table: Float[Tensor, "*h R c"], at: Float[Tensor, "*s"]) -> Float[Tensor, "..."]:
    """(*h, *s, c): a table's rows at real-valued coordinates in [0, R − 1]; at whole ones exactly those rows."""
    floor = at.floor()
    low = floor.long()
    weight = (at - floor).to(table.dtype)[..., None]
    below = table[..., low, :]
    above = table[..., (low + 1).clamp(max=table.shape[-2] - 1), :]
    return torch.lerp(below, above, weight)
