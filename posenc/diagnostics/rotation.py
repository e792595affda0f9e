"""The pairs of dimensions that an encoding rotates, their speeds, and the norms of queries and keys in them."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from posenc.attention.layer import SelfAttention
from posenc.encodings.base import PositionalEncoding
from posenc.positions.positions import Positions

WATCHED = 4
"""The number of sequences in which rotations are measured. A few are enough: few encodings rotate by content."""


@dataclass(frozen=True)
class RotaryUsage:
    """Pairs of dimensions of one layer that rotate with position, the fastest first.

    rates  (P,) mean rotation of a pair from one position to the next, in radians; more than π cannot be measured
    usage  (H, P) E‖q_f‖ · E‖k_f‖ / √d: the largest part of a logit from pair f, for vectors of mean norm
    still  (H,) the same for all other dimensions together, which do not rotate
    """

    rates: Float[Tensor, " P"]
    usage: Float[Tensor, "H P"]
    still: Float[Tensor, " H"]


@torch.no_grad()
def rotary_usage(
    layer: SelfAttention, x: Float[Tensor, "B N D"], encoding: PositionalEncoding, positions: Positions
) -> RotaryUsage | None:
    """How a layer with input x uses the frequencies of its encoding; None if the encoding rotates no pair.

    Barbero et al. 2025 (https://arxiv.org/abs/2410.06205), section 4: ‖q_f‖ and ‖k_f‖ show which frequencies a head
    uses. High frequencies make positional patterns; low frequencies carry content. The pairs are measured: a pair is
    the two dimensions in which a unit vector moves when its position changes.
    """
    q, k, v = layer.queries_keys_values(x, encoding, positions)
    width = v.shape[-1]
    pairs, rates = turned_pairs(encoding, x[:WATCHED], layer.num_heads, width, positions)
    if not len(pairs):
        return None
    order = rates.argsort(descending=True)
    pairs, rates = pairs[order], rates[order]
    others = torch.ones(q.shape[-1], dtype=torch.bool, device=q.device)
    others[pairs.flatten()] = False

    def size(vectors: Tensor, chosen: Tensor) -> Tensor:
        return vectors[..., chosen].norm(dim=-1).mean((0, 2))

    usage = torch.stack([size(q, pair) * size(k, pair) for pair in pairs], dim=1)
    return RotaryUsage(rates, usage * width**-0.5, size(q, others) * size(k, others) * width**-0.5)


@torch.no_grad()
def turned_pairs(
    encoding: PositionalEncoding, x: Float[Tensor, "B N D"], heads: int, width: int, positions: Positions
) -> tuple[Int[Tensor, "P 2"], Float[Tensor, " P"]]:
    """The pairs of dimensions in which each unit vector moves, and its speed in them.

    They are measured at consecutive positions for every scheme: over a larger step a pair may rotate by more than π.
    """
    B, N, _ = x.shape
    ids = torch.arange(N, device=x.device)[None]
    positions = replace(positions, ids=ids, span=max(N, positions.span), consecutive=True)
    zeros = x.new_zeros(B, heads, N, width)
    offset = encoding.rotate(x, zeros, zeros, positions)[1]
    found: dict[tuple[int, ...], Tensor] = {}
    for c in range(width):
        unit = zeros.clone()
        unit[..., c] = 1
        moved = encoding.rotate(x, unit, unit, positions)[1] - offset
        reached = tuple(moved.abs().amax((0, 1, 2)).nonzero().flatten().tolist())
        if len(reached) == 2 and reached not in found:
            found[reached] = moved[..., list(reached)]
    angles = [torch.atan2(plane[..., 1], plane[..., 0]) for plane in found.values()]
    steps = [torch.remainder(angle.diff(dim=-1) + torch.pi, 2 * torch.pi) - torch.pi for angle in angles]
    rates = torch.stack([step.abs().mean() for step in steps]) / positions.scale if steps else x.new_zeros(0)
    return torch.tensor(list(found), device=x.device).reshape(-1, 2), rates
