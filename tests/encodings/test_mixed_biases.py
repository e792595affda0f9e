"""Mixtures over heads, and sums, of biases of every two forms equal their parts, each computed alone."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from posenc.attention.kernels import choose
from posenc.attention.mask import Mask
from posenc.checks import ConfigError
from posenc.encodings.alibi import SymmetricALiBi
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.by_heads import ByHeads
from posenc.encodings.cope import ContextualPositionalEncoding
from posenc.encodings.fire import FIREPositionalBias
from posenc.encodings.learned_relative import LearnedRelativePositionalBias
from posenc.encodings.pope import PolarPositionalEncoding
from posenc.encodings.shaw import ShawRelativePositionalEncoding
from posenc.encodings.sums import Sum
from posenc.positions.positions import Positions

D, H, N, d = 16, 4, 9, 4

BIASES: dict[str, Callable[[int], PositionalEncoding]] = {
    "none": lambda H: PositionalEncoding(),
    "alibi": lambda H: SymmetricALiBi(H),
    "table": lambda H: LearnedRelativePositionalBias(H, 8),
    "read": lambda H: ShawRelativePositionalEncoding(d * H, H, 8, values=False),
    "values": lambda H: ShawRelativePositionalEncoding(d * H, H, 8, values=True),
    "pairs": lambda H: FIREPositionalBias(H),
    "dense": lambda H: ContextualPositionalEncoding(d * H, H, causal=True),
    "wide": lambda H: PolarPositionalEncoding(d * H, H),
}
"""An encoding of each form of bias, and one that widens q and k."""


def matrix(bias: Any, heads: int) -> Tensor:
    positions = Positions.arange(N)
    zeros = torch.zeros(2, heads, N, N, dtype=torch.float64)
    return zeros if bias is None else zeros + bias.matrix(positions)


@pytest.mark.parametrize("second", BIASES)
@pytest.mark.parametrize("first", BIASES)
def test_biases_of_all_forms_stand_side_by_side_and_are_added(first: str, second: str) -> None:
    """Outputs of the mixture are compared with those of its parts, each built and computed alone."""
    positions, x = Positions.arange(N), torch.randn(2, N, D, dtype=torch.float64)
    q, k, v = torch.randn(3, 2, H, N, d, dtype=torch.float64)
    parts = {name: BIASES[kind](H // 2).double() for name, kind in (("a", first), ("b", second))}
    for parameter in (p for part in parts.values() for p in part.parameters()):
        nn.init.normal_(parameter)
    whole = ByHeads(parts, H, ["a", "b"])
    found = attend(whole, x, q, k, v, positions)
    expected = [
        attend(part, x, q[:, rows], k[:, rows], v[:, rows], positions)
        for part, rows in zip(parts.values(), (slice(0, 2), slice(2, 4)), strict=True)
    ]
    torch.testing.assert_close(found, torch.cat(expected, 1))
    full = {name: BIASES[kind](H).double() for name, kind in (("a", first), ("b", second))}
    for parameter in (p for part in full.values() for p in part.parameters()):
        nn.init.normal_(parameter)
    if first == "wide":
        full = dict(reversed(full.items()))
    if "wide" in (first, second) and (first == second or {first, second} & {"read", "values", "dense"}):
        with pytest.raises(ConfigError, match="widened"):
            Sum(full)
        return
    total = Sum(full)
    turned_q, turned_k = q, k
    for part in full.values():
        turned_q, turned_k = part.rotate(x, turned_q, turned_k, positions)
    biases = [part.bias(x, turned_q, turned_k, positions) for part in full.values()]
    logits = turned_q @ turned_k.mT / d**0.5 + sum(matrix(bias, H) for bias in biases)
    weights = logits.masked_fill(torch.ones(N, N).triu(1).bool(), float("-inf")).softmax(-1)
    out = weights @ v
    for bias in biases:
        relative = None if bias is None else bias.weighted_values(weights, positions)
        out = out if relative is None else out + relative
    torch.testing.assert_close(attend(total, x, q, k, v, positions), out)


def attend(encoding: PositionalEncoding, x: Tensor, q: Tensor, k: Tensor, v: Tensor, positions: Positions) -> Tensor:
    q, k = encoding.rotate(x, q, k, positions)
    return choose.attend(q, k, v, encoding.bias(x, q, k, positions), positions, Mask(causal=True))
