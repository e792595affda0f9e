import torch
from torch import nn

from posenc import checks
from posenc.attention.bias import ByDistance
from posenc.encodings.base import PositionalEncoding


class FavouriteDistance(PositionalEncoding):
    """bias[h](t) = −|t − μ_h| / width,  t = key − query.

    Each head has a distance μ_h that it prefers; μ is learned and starts spread over −2 .. 2. Defined at every length.
    """

    source = "https://example.org/favourite-distance"
    size = "H"
    depends_on = frozenset({"distance"})

    def __init__(self, num_heads, width=2.0):
        super().__init__()
        checks.positive(self, num_heads=num_heads)
        checks.number(self, low=0, open_low=True, width=width)
        self.num_heads, self.width = num_heads, width
        self.favourite = nn.Parameter(torch.empty(num_heads))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self):
        self.favourite.copy_(torch.linspace(-2, 2, self.num_heads))

    def bias(self, x, q, k, positions):
        t = positions.distances  # all 2N − 1 distances, never N × N
        table = -(t - self.favourite[:, None]).abs() / self.width  # (H, 2N − 1)
        return ByDistance(table[None, :, None].to(q.dtype))
