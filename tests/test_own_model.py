"""What docs/own_model.md shows computes what posenc's own layer computes."""

import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch._dynamo.exc import UserError
from transformers import LlamaConfig, LlamaForCausalLM

from posenc.attention import SelfAttention
from posenc.catalog.encodings import EncodingEntry
from posenc.config.build import build_module
from posenc.config.make import make
from posenc.encodings import RotaryPositionalEncoding
from posenc.model import Encoder
from posenc.positions import Positions
from tests.conftest import ROOT, options

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "own_model.md").read_text(), re.DOTALL)
N = 9


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    torch.manual_seed(0)
    config = LlamaConfig(hidden_size=16, num_attention_heads=4, num_hidden_layers=2, vocab_size=11, intermediate_size=8)
    names: dict[str, Any] = {"model": LlamaForCausalLM(config)}
    for block in BLOCKS:
        exec(block, names)
    return names


@pytest.mark.parametrize("name", options("encoding"))
def test_the_layer_and_flex_give_the_definition(
    page: dict[str, Any], build_encoding: Callable[..., Any], catalogue: dict[str, EncodingEntry], name: str
) -> None:
    causal = catalogue[name].causal
    encoding = build_encoding(name, "model.dim=16", "model.num_heads=2", f"model.causal={str(causal).lower()}").double()
    encoding = encoding.of_layers(1)[0]
    for parameter in encoding.parameters():
        nn.init.normal_(parameter, std=0.3)
    ours = SelfAttention(16, 2, causal, attention="explicit").double()
    theirs = page["Attention"](16, 2, encoding, causal).double()
    theirs.qkv.weight, theirs.out.weight = ours.qkv.weight, ours.out.weight
    x, positions = torch.randn(2, N, 16, dtype=torch.float64), Positions.arange(N)
    with torch.no_grad():
        q, k, v = ours.queries_keys_values(x, encoding, positions)
        bias = encoding.bias(x, q, k, positions)
        if bias is not None and bias.has_values:
            return
        expected = ours(x, encoding, positions)
        torch.testing.assert_close(theirs(x, positions), expected, atol=1e-10, rtol=1e-10)
        if causal:
            return
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="flex_attention called without torch.compile")
            mixed = page["attend"](q, k, v, bias, positions)
        torch.testing.assert_close(ours.out(mixed.transpose(1, 2).flatten(2)), expected, atol=1e-10, rtol=1e-10)


def test_generation_with_a_cache_is_generation_without(page: dict[str, Any]) -> None:
    encoding = RotaryPositionalEncoding(16, 2)
    encoder = Encoder(encoding, 11, 11, dim=16, num_heads=2, causal=True, readout="per_token").double()
    tokens = torch.randint(11, (2, 5))
    found = page["generate"](encoder, tokens, 6)
    for _ in range(6):
        tokens = torch.cat((tokens, encoder(tokens)[:, -1:].argmax(-1)), 1)
    assert torch.equal(found, tokens)


def test_a_model_of_transformers_is_given_an_encoding(page: dict[str, Any]) -> None:
    assert isinstance(page["model"].model.get_submodule("posenc")[0], page["CausalALiBi"])
    out = page["model"].generate(torch.ones(1, 3, dtype=torch.long), max_new_tokens=2, eos_token_id=None)
    assert out.shape == (1, 5)


ROWS = (ROOT / "docs" / "own_model.md").read_text().partition("| the graph takes |")[2].splitlines()
WINDOW, ONE_LENGTH = (
    [name for name in options("encoding") if f"`{name}`" in row] for row in ROWS if row.startswith("| any batch, ")
)
GRAPHS = [name for name in options("encoding") if name not in ONE_LENGTH]


def encoder_under(composed: Callable[..., Any], entry: EncodingEntry, periods: int = 1) -> Any:
    words = ("dataset=majority", "model.dim=16", "model.num_heads=2")
    layers = f"model.num_layers={periods * entry.encoding.layers_in_pattern}"  # each further layer is traced anew
    config = composed(*words, layers, f"encoding={entry.name}", f"model.causal={str(entry.causal).lower()}")
    encoder = build_module(config, make(config, "dataset")).eval().encoder
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.3)
    return encoder


@pytest.mark.slow
@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_takes_any_batch_and_length(
    page: dict[str, Any], composed: Callable[..., Any], catalogue: dict[str, EncodingEntry], name: str
) -> None:
    encoder = encoder_under(composed, catalogue[name])
    shortest = 30 if name in WINDOW else 4
    graph = page["graph"](encoder, torch.ones(2, shortest + 7, dtype=torch.long), shortest=shortest).module()
    for shape in ((1, shortest), (3, shortest + 9), (2, 60)):
        tokens = torch.randint(4, shape)
        with torch.no_grad():
            torch.testing.assert_close(graph(tokens), encoder(tokens), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("own", [False, True])
def test_a_graph_takes_several_layers(
    page: dict[str, Any], composed: Callable[..., Any], catalogue: dict[str, EncodingEntry], own: bool
) -> None:
    """Of the first encoding whose layers have weights of their own, and of the first whose layers share them."""
    entry = next(catalogue[name] for name in GRAPHS if catalogue[name].encoding.per_layer == own and name not in WINDOW)
    encoder, tokens = encoder_under(composed, entry, periods=2), torch.randint(4, (3, 17))
    assert len(encoder.encodings) == (2 if own else 1)
    graph = page["graph"](encoder, torch.ones(2, 11, dtype=torch.long)).module()
    with torch.no_grad():
        torch.testing.assert_close(graph(tokens), encoder(tokens), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_LENGTH)
def test_a_graph_of_one_length(
    page: dict[str, Any], composed: Callable[..., Any], catalogue: dict[str, EncodingEntry], name: str
) -> None:
    """The page lists encodings that need one length; an encoding that takes any length by now fails here."""
    encoder, tokens = encoder_under(composed, catalogue[name]), torch.randint(4, (2, 11))
    batch = ({0: torch.export.Dim("batch")},)
    graph = torch.export.export(encoder, (tokens,), dynamic_shapes=batch).module()
    with torch.no_grad():
        torch.testing.assert_close(graph(tokens[:1]), encoder(tokens[:1]), atol=1e-5, rtol=1e-5)
    with pytest.raises(UserError, match="Constraints violated"):
        page["graph"](encoder, tokens)
