"""RoPE over two axes: half of the pairs turn by the row, half by the column."""

import torch
from torch import Tensor

from posenc import checks
from posenc.checks import ConfigError
from posenc.encodings.rope import RotaryPositionalEncoding
from posenc.positions.positions import Positions


class AxialRotaryPositionalEncoding(RotaryPositionalEncoding):
    """RoPE with the angles ⌊p/C⌋ θ_i of the first r/4 pairs and (p mod C) θ_i of the others,  θ_i = base^(−4i/r).

    Axial RoPE, as in vision transformers: Heo et al. 2024 (https://arxiv.org/abs/2403.13298), whose axial form with
    RoPE's base this is. Tokens are a grid of C = `columns`, row by row. So a logit depends on content and on the
    distances in rows and in columns. r = d, or the share `rotated` of d. Defined at every number of rows.
    """

    source = "https://arxiv.org/abs/2403.13298"
    proof = ("rotary-embedding-torch", "formula")
    depends_on = frozenset({"distance", "position"})

    def __init__(
        self,
        dim: int,
        num_heads: int,
        columns: int,
        base: float = 10_000.0,
        layout: str = "interleaved",
        rotated: float | None = None,
    ) -> None:
        super().__init__(dim, num_heads, base, layout, rotated)
        checks.positive(self, columns=columns)
        if self.width % 4:
            raise ConfigError(
                f"{type(self).__name__} turns as many pairs by rows as by columns: what turns of the head width must "
                f"be a multiple of 4, got {self.width}; set model.dim to such a multiple of model.num_heads."
            )
        self.columns = columns

    def rates(self, positions: Positions, dtype: torch.dtype) -> Tensor:
        pair = torch.arange(self.width // 4, device=positions.ids.device, dtype=dtype)
        return self.base ** (-4 * pair / self.width)

    def angle(self, positions: Positions, dtype: torch.dtype) -> Tensor:
        p, theta = positions.values.to(dtype)[:, None, :, None], self.rates(positions, dtype)
        row = (p / self.columns).floor()
        return torch.cat((row * theta, (p - row * self.columns) * theta), -1)
