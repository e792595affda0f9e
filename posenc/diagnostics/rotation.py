"""Which pairs of dimensions an encoding turns, how fast, and how loud queries and keys are in them."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from posenc.attention.layer import SelfAttention
from posenc.encodings.base import PositionalEncoding
from posenc.positions.positions import Positions

WATCHED = 4
"""Sequences in which the turning of unit vectors is watched; content turns them in few encodings."""


@dataclass(frozen=True)
class RotaryUsage:
    """Pairs of dimensions of one layer that turn with position, the fastest first.

    rates  (P,) radians that a pair turns from one position to the next, in the mean; half a turn at most can be seen
    usage  (H, P) E‖q_f‖ · E‖k_f‖ / √d: no logit of two vectors of mean size can gain more from pair f
    still  (H,) the same of all other dimensions together, which position does not turn
    """

    rates: Float[Tensor, " P"]
    usage: Float[Tensor, "H P"]
    still: Float[Tensor, " H"]


@torch.no_grad()
def rotary_usage(
    layer: SelfAttention, x: Float[Tensor, "B N D"], encoding: PositionalEncoding, positions: Positions
) -> RotaryUsage | None:
    """How a layer that reads x uses the frequencies of its encoding; None where the encoding turns no pair.

    Barbero et al. 2025 (https://arxiv.org/abs/2410.06205), section 4: ‖q_f‖ and ‖k_f‖ say which frequencies a head
    uses; high ones make positional patterns, low ones carry content. Which dimensions make a pair is not asked of the
    encoding but seen: a pair is what one unit vector moves in as its position changes.
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
    """The pairs of dimensions of the turned key that each unit vector reaches, and how fast it turns in them.

    Seen at consecutive positions, whatever the scheme, so that no step hides a turn.
    """
    B, N, _ = x.shape
    ids = torch.arange(N, device=x.device)[None]
    positions = replace(positions, ids=ids, span=max(N, positions.span), consecutive=True)
    silent = x.new_zeros(B, heads, N, width)
    silence = encoding.rotate(x, silent, silent, positions)[1]
    found: dict[tuple[int, ...], Tensor] = {}
    for c in range(width):
        unit = silent.clone()
        unit[..., c] = 1
        moved = encoding.rotate(x, unit, unit, positions)[1] - silence
        reached = tuple(moved.abs().amax((0, 1, 2)).nonzero().flatten().tolist())
        if len(reached) == 2 and reached not in found:
            found[reached] = moved[..., list(reached)]
    angles = [torch.atan2(plane[..., 1], plane[..., 0]) for plane in found.values()]
    steps = [torch.remainder(angle.diff(dim=-1) + torch.pi, 2 * torch.pi) - torch.pi for angle in angles]
    rates = torch.stack([step.abs().mean() for step in steps]) / positions.scale if steps else x.new_zeros(0)
    return torch.tensor(list(found), device=x.device).reshape(-1, 2), rates
