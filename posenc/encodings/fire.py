"""FIRE: a small network of the distance, relative to how far the query can look."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from posenc import checks
from posenc.attention.bias import ByDistance, ByPairs
from posenc.attention.kernels import blocks
from posenc.encodings.base import PositionalEncoding
from posenc.positions.positions import Positions

EPSILON = 1e-6

LARGE = 2**22
"""Numbers in the hidden layer, 16 MiB in float32, beyond which a CPU makes them again in place of keeping them."""


class FIREPositionalBias(PositionalEncoding):
    """bias[h](m, t) = MLP_h(ψ(|t|) / (ψ(max(T, m)) + ε)),  ψ(x) = ln(|c|·x + 1),  MLP: 1 → hidden → H with ReLU.

    Functional interpolation, Li et al. 2024 (https://arxiv.org/abs/2310.04418): past the threshold T the distance is
    measured against the query's position m, so that under a causal mask the network sees no input above 1. c starts at
    0.1; T is `threshold` times a learned factor that starts at 1, taken absolutely; ε = 1e-6 (constants from the
    implementations in DAPE and in mcleish7/arithmetic). Causal there. Keys on the right of a bidirectional encoder are
    read at |t|: a query cannot tell left from right by it, and inputs pass 1 for keys further right than max(T, m).
    Each layer has a network, c and T of its own, as in the paper (its FIRE-S shares them:
    model.encoding_per_layer=false) and in both implementations. Defined at every length. Past the threshold no two
    queries share a row of distances: on a CPU, by attention=auto or fused, a long sequence then computes the network
    again in the backward pass, some queries at a time, and keeps nothing for a pair
    (`posenc.attention.kernels.by_pairs`); elsewhere it keeps hidden numbers for each pair of places.
    """

    source = "https://arxiv.org/abs/2310.04418"
    proof = ("formula",)
    size = "L·(2·hidden + H·(hidden + 1) + 2)"
    depends_on = frozenset({"|distance|", "position"})
    per_layer = True

    def __init__(self, num_heads: int, hidden: int = 32, threshold: float = 512.0) -> None:
        super().__init__()
        checks.positive(self, maximum=checks.MAX_WIDTH, num_heads=num_heads, hidden=hidden)
        checks.number(self, low=0, open_low=True, threshold=threshold)
        self.num_heads, self.hidden, self.threshold = num_heads, hidden, threshold
        self.mlp = nn.Sequential(nn.Linear(1, hidden), nn.ReLU(), nn.Linear(hidden, num_heads))
        self.c = nn.Parameter(torch.tensor(0.1))
        self.threshold_factor = nn.Parameter(torch.tensor(1.0))

    def reset_parameters(self) -> None:
        """c = 0.1, T = threshold; the network's layers reset themselves."""
        nn.init.constant_(self.c, 0.1)
        nn.init.ones_(self.threshold_factor)

    def bias(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> ByDistance | ByPairs:
        """One row of distances for all queries up to T; past it a row each, or pairs where rows are `LARGE`."""
        layers = [layer for layer in self.mlp if isinstance(layer, nn.Linear)]
        given = (self.c, self.threshold_factor, *(x for layer in layers for x in (layer.weight, layer.bias)))
        reach = (self.threshold_factor * self.threshold).abs()[None, None]
        if not self._all_within(reach, positions):
            size = positions.ids.numel() * positions.span * self.hidden
            if size > LARGE and blocks.pays(positions.ids):
                return ByPairs(partial(self._pairs, positions), given, width=len(positions.ids) * self.hidden)
            reach = self._reach(reach, positions.values)
        one_side = positions.distances[positions.span - 1 :]  # 0 .. extent; the other side is its mirror image
        half = self._network(given, one_side, reach[..., None])  # (b, H, N, span)
        return ByDistance(torch.cat((half[..., 1:].flip(-1), half), dim=-1))

    def _pairs(self, positions: Positions, given: tuple[Tensor, ...], m: slice, n: slice) -> Tensor:
        """(b, H, m, n), the bias between some queries and keys."""
        distance = (positions.ids[:, None, n] - positions.ids[:, m, None]).abs().to(torch.float32) * positions.scale
        reach = self._reach((given[1] * self.threshold).abs(), positions.values[:, m])
        return self._network(given, distance, reach[..., None])

    def _reach(self, threshold: Tensor, places: Tensor) -> Tensor:
        """max(T, m)"""
        return torch.maximum(places.to(torch.promote_types(threshold.dtype, torch.float32)), threshold)

    def _network(self, given: tuple[Tensor, ...], distance: Tensor, reach: Tensor) -> Tensor:
        """(b, H, ·, ·), a function of `given` alone: what the module holds may change before the backward pass."""
        c, _, *weights = given
        dtype = torch.promote_types(c.dtype, torch.float32)

        def psi(length: Tensor) -> Tensor:
            return torch.log1p(c.abs() * length.to(dtype))

        share = psi(distance) / (psi(reach) + EPSILON)
        with blocks.without_autocast(share):
            inner, shift, outer, offset = (x.to(share.dtype) for x in weights)
            return F.linear(F.linear(share[..., None], inner, shift).relu(), outer, offset).movedim(-1, 1)

    def _all_within(self, reach: Tensor, positions: Positions) -> bool:
        """Whether no position is past T, so that all queries share one row; asked where the answer is at hand."""
        known = type(reach) is Tensor and reach.device.type == "cpu" and not torch.compiler.is_compiling()
        return known and positions.extent < float(reach.detach())
