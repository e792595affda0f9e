"""torch.compile traces every encoding as one graph."""

import copy

import pytest
import torch
from torch import nn

from posenc.attention.layer import SelfAttention
from posenc.catalog.encodings import EncodingEntry
from posenc.positions.positions import Positions
from tests.conftest import options

ENCODINGS = options("encoding")
D, H = 64, 4


class Layer(nn.Module):
    """The part of an encoder that uses the encoding: the embeddings and one layer of attention."""

    def __init__(self, entry: EncodingEntry) -> None:
        super().__init__()
        self.encoding, self.attention = copy.deepcopy(entry.encoding), SelfAttention(D, H, causal=entry.causal)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        positions = Positions.arange(x.shape[1])
        return self.attention(self.encoding.embed(x, positions), self.encoding, positions)


def kind(entry: EncodingEntry) -> tuple[object, ...]:
    """What gradients pass through: the hooks, whether they read tokens or weights, and the form of the bias."""
    encoding, positions = entry.encoding, Positions.arange(9)
    x, (q, k) = torch.randn(2, 9, D), torch.randn(2, 2, H, 9, D // H)
    bias = encoding.bias(x, *encoding.rotate(x, q, k, positions), positions)
    reads = "content" in encoding.depends_on, entry.parameters > 0
    return encoding.hooks, reads, type(bias), bias is not None and bias.has_values


@pytest.fixture(scope="module")
def first_of_their_kind(catalogue: dict[str, EncodingEntry]) -> set[str]:
    """The names of encodings before which none is of the same kind."""
    return set({kind(catalogue[name]): name for name in reversed(ENCODINGS)}.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODINGS)
def test_it_compiles_without_graph_breaks(
    catalogue: dict[str, EncodingEntry], first_of_their_kind: set[str], name: str
) -> None:
    """The forward pass is one graph, and for one encoding of each kind the backward pass too.

    No code is generated, so the test needs no compiler. Tracing more code takes longer, so the rest of the encoder is
    left out; tests/test_compile.py traces it.
    """
    layer, x = Layer(catalogue[name]), torch.randn(2, 9, D)
    given = [weight for weight in layer.parameters() if weight.requires_grad]
    torch._dynamo.reset()
    backend = "aot_eager" if name in first_of_their_kind else "eager"
    compiled = torch.compile(layer, backend=backend, fullgraph=True)
    ours, theirs = compiled(x), layer(x)
    torch.testing.assert_close(ours, theirs)
    pairs = zip(
        *(torch.autograd.grad(out.square().sum(), given, allow_unused=True) for out in (ours, theirs)), strict=True
    )
    for one, other in pairs:
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)
