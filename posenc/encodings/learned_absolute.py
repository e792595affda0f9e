"""One learned vector per position, added to the token embeddings."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posenc import checks
from posenc.checks import UndefinedAtLength
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.scale import Rms, check_rms, interpolate
from posenc.positions.positions import Positions


class LearnedAbsolutePositionalEncoding(PositionalEncoding):
    """x_p + table[p],  a (max_length, D) table.

    Gehring et al. 2017 (https://arxiv.org/abs/1705.03122), BERT (https://arxiv.org/abs/1810.04805). The table starts at
    N(0, rms²), by default with the scale of the token embeddings; `rms: raw` is BERT's 0.02. Between whole positions
    (position interpolation) rows are interpolated linearly. Undefined past max_length, which is an error; rows past the
    trained length are defined but untrained.
    """

    source = "https://arxiv.org/abs/1705.03122"
    proof = ("transformers", "x-transformers")
    size = "max_length·D"
    depends_on = frozenset({"position"})

    def __init__(self, dim: int, max_length: int, rms: Rms = 1.0) -> None:
        super().__init__()
        checks.tensor_fits(self, dim=dim, max_length=max_length)
        check_rms(self, rms)
        self.dim, self.max_length, self.rms = dim, max_length, rms
        self.table = nn.Parameter(torch.empty(max_length, dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the table from N(0, rms²)."""
        nn.init.normal_(self.table, std=0.02 if isinstance(self.rms, str) else self.rms)

    def embed(self, x: Tensor, positions: Positions) -> Tensor:
        return x + read(self, self.table, positions).to(x.dtype)


def read(owner: object, table: Float[Tensor, "R D"], positions: Positions) -> Float[Tensor, "b N D"]:
    """The table's row at each position, interpolated linearly between rows. Raises ConfigError past the last row."""
    if positions.extent > len(table) - 1:
        raise UndefinedAtLength(
            f"{type(owner).__name__} holds {len(table)} positions, got {positions.extent + 1:g}; "
            "raise encoding.max_length."
        )
    return interpolate(table, positions.values)
