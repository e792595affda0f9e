"""One learned vector per position, added to the token embeddings."""

import torch
from torch import Tensor, nn

from posenc import checks
from posenc.checks import ConfigError
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.scale import Rms, check_rms, interpolate
from posenc.positions import Positions


class LearnedAbsolutePositionalEncoding(PositionalEncoding):
    """x_p + table[p],  a (max_length, D) table.

    Gehring et al. 2017 (https://arxiv.org/abs/1705.03122), BERT (https://arxiv.org/abs/1810.04805). Starts at
    N(0, rms²), by default as loud as the token embeddings; `rms: raw` is BERT's 0.02. Between whole positions (position
    interpolation) rows are interpolated linearly. max_length·D parameters. Undefined past max_length, which is an
    error; rows past the training length are defined but untrained.
    """

    def __init__(self, dim: int, max_length: int, rms: Rms = 1.0) -> None:
        super().__init__()
        checks.positive(self, dim=dim, max_length=max_length)
        check_rms(self, rms)
        self.max_length = max_length
        self.std = 0.02 if rms == "raw" else rms
        self.table = nn.Parameter(torch.empty(max_length, dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the table from N(0, std²)."""
        nn.init.normal_(self.table, std=self.std)

    def embed(self, x: Tensor, positions: Positions) -> Tensor:
        if positions.extent > self.max_length - 1:
            raise ConfigError(
                f"{type(self).__name__} holds {self.max_length} positions, got {positions.extent + 1:g}; "
                f"raise encoding.max_length."
            )
        return x + interpolate(self.table, positions.values).to(x.dtype)

    def extra_repr(self) -> str:
        return f"dim={self.table.shape[1]}, max_length={self.max_length}, std={self.std:g}"
