"""FIRE: a small network of the distance, relative to how far the query can look."""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from posenc import checks
from posenc.attention.bias import ByDistance, ByPairs
from posenc.attention.kernels import blocks
from posenc.encodings.base import PositionalEncoding
from posenc.positions.positions import Positions

EPSILON = 1e-6

LARGE = 2**22
"""If the hidden layer has more numbers than this (16 MiB in float32), a CPU computes them again backward."""


class FIREPositionalBias(PositionalEncoding):
    """bias[h](m, t) = MLP_h(ψ(|t|) / (ψ(max(T, m)) + ε)),  ψ(x) = ln(|c|·x + 1),  MLP: 1 → hidden → H with ReLU.

    Functional interpolation, Li et al. 2024 (https://arxiv.org/abs/2310.04418): past the threshold T the distance is
    divided by a function of the query's position m. So under a causal mask no input of the network is above 1. c starts
    at 0.1. T is the absolute value of `threshold` times a learned factor that starts at 1. ε = 1e-6. These constants
    are from the implementations in DAPE and in mcleish7/arithmetic. The paper's models are causal. In a bidirectional
    encoder keys on the right are read at |t|: a query cannot tell left from right, and inputs are above 1 for keys
    further right than max(T, m). Each layer has its own network, c and T, as in the paper (its FIRE-S shares them:
    model.encoding_per_layer=false) and in both implementations. Defined at every length. Past the threshold each query
    has its own row of distances. On a CPU, with attention=auto or fused, a long sequence computes the network again in
    the backward pass, some queries at a time, and keeps nothing for a pair (`posenc.attention.kernels.by_pairs`).
    Otherwise it keeps the hidden numbers of each pair of places.
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
        """One row of distances for all queries up to T; past T a row for each query, or pairs if rows are `LARGE`."""
        layers = [layer for layer in self.mlp if isinstance(layer, nn.Linear)]
        given = (self.c, self.threshold_factor, *(x for layer in layers for x in (layer.weight, layer.bias)))
        reach = (self.threshold_factor * self.threshold).abs()[None, None]
        if not self._all_within(reach, positions):
            size = positions.ids.numel() * positions.span * self.hidden
            if size > LARGE and blocks.pays(positions.ids):
                batch = max(len(positions.ids), len(positions.at_keys.ids))
                return ByPairs(partial(self._pairs, positions), given, width=4 * batch)
            reach = self._reach(reach, positions.values)
        one_side = positions.distances[positions.span - 1 :]  # 0 .. extent; the left side is the mirror image
        half = self._network(given, one_side, reach[..., None])  # (b, H, N, span)
        return ByDistance(torch.cat((half[..., 1:].flip(-1), half), dim=-1))

    def _pairs(self, positions: Positions, given: tuple[Tensor, ...], m: slice, n: slice) -> Tensor:
        """(b, H, m, n), the bias of some queries and keys; for consecutive ids, by rows of distances."""
        ids = positions.ids
        if positions.consecutive:
            last = positions.before + m.stop - 1
            distance = torch.arange(n.start - last, n.stop - positions.before - m.start, device=ids.device)[None, None]
        else:
            distance = positions.at_keys.ids[:, None, n] - ids[:, m, None]
        distance = distance.abs().to(torch.float32) * positions.scale
        reach = self._reach((given[1] * self.threshold).abs(), positions.values[:, m])
        bias = piecewise(*self._psi(given[0], distance, reach[..., None]), *given[2:])
        return blocks.by_key(bias) if positions.consecutive else bias

    def _reach(self, threshold: Tensor, places: Tensor) -> Tensor:
        """max(T, m)"""
        return torch.maximum(places.to(torch.promote_types(threshold.dtype, torch.float32)), threshold)

    def _psi(self, c: Tensor, distance: Tensor, reach: Tensor) -> tuple[Tensor, Tensor]:
        """ψ(distance), and ψ(reach) + ε."""
        dtype = torch.promote_types(c.dtype, torch.float32)
        near, far = (torch.log1p(c.abs() * length.to(dtype)) for length in (distance, reach))
        return near, far + EPSILON

    def _network(self, given: tuple[Tensor, ...], distance: Tensor, reach: Tensor) -> Tensor:
        """(b, H, ·, ·), a function of `given` only: the module's tensors may change before the backward pass."""
        near, far = self._psi(given[0], distance, reach)
        share = near / far
        with blocks.without_autocast(share):
            inner, shift, outer, offset = (x.to(share.dtype) for x in given[2:])
            return F.linear(F.linear(share[..., None], inner, shift).relu(), outer, offset).movedim(-1, 1)

    def _all_within(self, reach: Tensor, positions: Positions) -> bool:
        """Whether no position is past T, so that all queries share one row. Checked only if this is cheap."""
        known = type(reach) is Tensor and reach.device.type == "cpu" and not torch.compiler.is_compiling()
        return known and positions.extent < float(reach.detach())


def piecewise(
    near: Float[Tensor, "b r n"],
    far: Float[Tensor, "b m 1"],
    inner: Float[Tensor, "u 1"],
    shift: Float[Tensor, " u"],
    outer: Float[Tensor, "H u"],
    offset: Float[Tensor, " H"],
) -> Float[Tensor, "b H m n"]:
    """outer · relu(inner · s + shift) + offset of s = near / far, r = 1 or m, for rows that differ little in a column.

    As a function of one number, a network with ReLU is piecewise linear. It has a kink where the input of a hidden unit
    changes its sign. Between two kinks it is a slope times s plus a constant. Hidden units are computed for each pair
    only in columns whose rows are on both sides of a kink, and only the units of these kinks.
    """
    inner, shift, outer, offset = (x.to(near.dtype) for x in (inner, shift, outer, offset))
    w = inner[:, 0]
    with torch.no_grad():
        low, high = (near / far.amax(1, True), near / far.amin(1, True)) if near.shape[1] == 1 else _ends(near / far)
        kinks, order = torch.where(w == 0, torch.inf, -shift / w).sort()
        first, last = torch.searchsorted(kinks, low[:, 0]), torch.searchsorted(kinks, high[:, 0])  # segments, (b, n)
        rank = torch.arange(len(w), device=w.device)
        segment = torch.arange(len(w) + 1, device=w.device)[:, None]
        on = torch.where(w[order] > 0, segment > rank, torch.where(w[order] < 0, segment <= rank, shift[order] > 0))
        columns = (first != last).any(0).nonzero()[:, 0]
        first_there, last_there = first[:, columns, None], last[:, columns, None]
        inside = (rank >= first_there) & (rank < last_there)  # (b, columns, units in the order of their kinks)
        crossed = inside.any(0).any(0).nonzero()[:, 0]
        inside, units = inside[..., crossed].mT.to(w.dtype), order[crossed]
    with blocks.without_autocast(near):
        slope = (outer[:, order] @ (on * w[order]).mT)[:, first].transpose(0, 1)  # (b, H, n)
        start = (outer[:, order] @ (on * shift[order]).mT + offset[:, None])[:, first].transpose(0, 1)
        if near.shape[1] == 1:
            rows = torch.cat((1 / far, torch.ones_like(far)), -1)
            bias = rows[:, None] @ torch.stack((slope * near, start), -2)
        else:
            bias = torch.addcmul(start[:, :, None], slope[:, :, None], (near / far)[:, None])
        if not len(columns):
            return bias
        # A unit that is on in the first segment stays in the slope. Past its kink the missing part is added.
        s, sign = (near[..., columns] / far)[:, None], w[units].sign()
        hidden = ((sign * w[units])[:, None, None] * s + (sign * shift[units])[:, None, None]).relu()
        added = outer[:, units] @ (hidden * inside[:, :, None]).flatten(2)
        index = columns.expand(*bias.shape[:-1], -1)
        return bias.scatter_add_(-1, index, added.view(index.shape))


def _ends(share: Tensor) -> tuple[Tensor, Tensor]:
    """The smallest and the largest of each column."""
    low, high = share.aminmax(dim=1, keepdim=True)
    return low, high
