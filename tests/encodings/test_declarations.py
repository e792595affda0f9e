"""The declarations of every encoding are true: invariances, parameter counts, arguments, lengths, names of weights."""

import copy
import inspect
import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch import nn

from posenc.attention.definition import attention_logits
from posenc.attention.mask import Mask
from posenc.catalog.encodings import EncodingEntry, build
from posenc.catalog.page import node_of
from posenc.catalog.page import options as files
from posenc.checks import ConfigError
from posenc.config.make import make
from posenc.encodings.base import PositionalEncoding
from posenc.jobs.launch import causal_only
from posenc.model.encoder import Encoder
from posenc.positions.positions import Positions
from tests.conftest import CONFIGS, OWN, options
from tests.encodings.rebuild import arguments, rebuilt

ENCODINGS = options("encoding")
STATE = Path(__file__).with_name("state_dicts.json")
D, H, N = 64, 4, 20
SOON = {"threshold": 8.0, "original_length": 24}
"""Arguments that are lengths, set so low that they have an effect at length N, or at positions shifted by N."""


def loud(encoding: PositionalEncoding, **changed: Any) -> PositionalEncoding:
    """The encoding with some arguments changed, and random weights, because weights that start at 0 have no effect."""
    again = rebuilt(encoding, **changed)
    for parameter in again.parameters():
        nn.init.normal_(parameter)
    return again


def evaluated(entry: EncodingEntry, **sizes: int) -> int:
    """The number of parameters by the formula of the class, or by the formulas of its parts."""
    found = 0
    for part in entry.encoding.leaves:
        formula = (part.size or "0").replace("·", "*").replace("−", "-").replace("²", "**2")
        found += eval(formula, {"D": D, "H": H, "d": D // H, **sizes, **arguments(part)})
    return found


def model(entry: EncodingEntry) -> Encoder:
    return Encoder(loud(entry.encoding, **SOON), 11, 3, dim=D, num_heads=H, num_layers=3, causal=entry.causal).double()


@pytest.mark.parametrize("name", ENCODINGS)
def test_a_common_shift_matters_where_positions_or_extent_do(catalogue: dict[str, EncodingEntry], name: str) -> None:
    entry = catalogue[name]
    encoder, tokens = model(entry), torch.randint(11, (4, N))
    change = (encoder(tokens, Positions.arange(N).shifted(37)) - encoder(tokens)).abs().max()
    if entry.encoding.depends_on & {"position", "extent"}:
        assert change > 1e-4
    else:
        assert change < 1e-4


@pytest.mark.parametrize("name", ENCODINGS)
def test_ids_matter_unless_order_alone_does(catalogue: dict[str, EncodingEntry], name: str) -> None:
    entry = catalogue[name]
    encoder, tokens = model(entry), torch.randint(11, (4, N))
    spread = Positions(torch.arange(N)[None] * 3, span=3 * N)
    change = (encoder(tokens, spread) - encoder(tokens)).abs().max()
    assert (change > 1e-4) == bool(entry.encoding.depends_on & {"position", "distance", "|distance|"})


@pytest.mark.parametrize("name", ENCODINGS)
def test_reversal_and_permutation_are_seen_as_declared(catalogue: dict[str, EncodingEntry], name: str) -> None:
    entry = catalogue[name]
    if entry.causal:  # the mask itself tells left from right
        assert entry.encoding.depends_on & {"order", "distance"}
        return
    encoder, tokens = model(entry), torch.randint(11, (8, N))
    reversal = (encoder(tokens.flip(1)) - encoder(tokens)).abs().max()
    permutation = (encoder(tokens[:, torch.randperm(N)]) - encoder(tokens)).abs().max()
    depends = entry.encoding.depends_on
    assert (reversal < 1e-6) == (not depends & {"position", "order", "distance"}), reversal
    assert (permutation < 1e-6) == (not depends & {"position", "order", "distance", "|distance|"}), permutation


@pytest.mark.parametrize(
    ("name", "equal"),
    [
        (name, True)
        for name in ("alibi", "deberta", "fire", "learned_relative", "rope", "shaw_keys", "t5", "transformer_xl")
    ]
    + [(name, False) for name in ("learned_absolute", "shaw", "sinusoidal")],
)
def test_on_a_constant_sequence_relative_logits_show_nothing(
    catalogue: dict[str, EncodingEntry], name: str, equal: bool
) -> None:
    """All values are equal, so the weights do not matter, unless position is in the tokens or in the values (Shaw)."""
    rows = model(catalogue[name]).hidden(torch.zeros(2, N, dtype=torch.long))
    assert ((rows - rows[:, :1]).abs().max() < 1e-5) == equal


@pytest.mark.parametrize("name", ENCODINGS)
def test_tokens_enter_only_where_content_is_declared(catalogue: dict[str, EncodingEntry], name: str) -> None:
    """If q and k stay the same, other tokens change the bias only if it depends on content."""
    entry = catalogue[name]
    if "content" in entry.encoding.depends_on:
        return
    encoding, positions = loud(entry.encoding).double(), Positions.arange(N)
    a, b = torch.randn(2, 2, N, D, dtype=torch.float64)
    q, k = torch.randn(2, 2, H, N, D // H, dtype=torch.float64)
    torch.testing.assert_close(encoding.embed(a, positions) - a, encoding.embed(b, positions) - b)
    turned = [encoding.rotate(x, q, k, positions) for x in (a, b)]
    assert all(torch.equal(u, v) for u, v in zip(*turned, strict=True))
    biases = [encoding.bias(x, *turned[0], positions) for x in (a, b)]
    if biases[0] is not None and biases[1] is not None:
        assert torch.equal(biases[0].matrix(positions), biases[1].matrix(positions))


@pytest.mark.parametrize("name", ENCODINGS)
@torch.no_grad()
def test_a_logit_reads_tokens_before_its_key_where_that_is_declared(
    catalogue: dict[str, EncodingEntry], name: str
) -> None:
    """The tokens before place 7 are changed, and the logits of later keys and queries are compared."""
    encoding, positions, at = loud(catalogue[name].encoding, **SOON).double(), Positions.arange(N), 7
    logits = []
    x, (q, k) = torch.randn(1, N, D).double(), torch.randn(2, 1, H, N, D // H).double()
    for _ in range(2):
        turned = encoding.rotate(x, q, k, positions)
        bias = encoding.bias(x, *turned, positions)
        logits.append(attention_logits(*turned, D // H, bias, positions, Mask())[..., at:, at:].tril())
        for each in (x, q, k):
            each[..., :at, :] = torch.randn_like(each[..., :at, :])
    assert ((logits[1] - logits[0]).abs().max() > 1e-6) == encoding.reads_before


@pytest.mark.parametrize("name", ENCODINGS)
def test_formula_and_source_are_given(catalogue: dict[str, EncodingEntry], name: str) -> None:
    entry = catalogue[name]
    assert any(word in entry.formula for word in ("=", "←", "x_p", "reads", "RoPE", "Pair")), entry.formula
    assert entry.source.startswith("https://")


@pytest.mark.parametrize("name", ENCODINGS)
def test_the_parameters_are_as_many_as_declared(catalogue: dict[str, EncodingEntry], name: str) -> None:
    entry = catalogue[name]
    assert evaluated(entry, L=2) == entry.parameters, entry.size


LAYERWISE = {
    "cable",
    "cope",
    "dape",
    "deberta",
    "dynamic_bias",
    "fire",
    "forgetting",
    "grape_a",
    "grape_ap",
    "grape_m",
    "lape",
    "log_bias",
    "path",
    "shaw",
}
LAYERWISE |= {"music_transformer", "rope_decoupled", "rope_forgetting", "selective_rope", "shaw_keys", "transformer_xl"}
"""Encodings whose source learns some part separately in each layer. learned_relative's scalar form has no source."""


@pytest.mark.parametrize("name", ENCODINGS)
def test_layers_share_what_they_declare(catalogue: dict[str, EncodingEntry], name: str) -> None:
    entry, layers = catalogue[name], 3
    encoder = Encoder(copy.deepcopy(entry.encoding), 11, 3, dim=D, num_heads=H, num_layers=layers, causal=entry.causal)
    own, tied = entry.encoding.per_layer, entry.encoding.shared
    sizes = {part: value.numel() for part, value in entry.encoding.named_parameters()}
    assert len(encoder.encodings) == (layers if own else 1)
    assert tied <= set(sizes)
    found = sum(value.numel() for value in encoder.encodings.parameters())
    assert found == sum(n * (layers if own and part not in tied else 1) for part, n in sizes.items())
    assert found == evaluated(entry, L=layers)


def test_layers_share_what_they_share_in_the_source(catalogue: dict[str, EncodingEntry]) -> None:
    ours = {path.stem for path in (CONFIGS / "encoding").glob("*.yaml")}
    assert {name for name in ours if catalogue[name].encoding.per_layer} == LAYERWISE
    for entry in (catalogue[name] for name in ours if catalogue[name].parameters):
        if entry.enters != "embeddings":
            assert any(words in entry.prose.lower() for words in ("each layer", "all layers")), entry.name


@pytest.mark.parametrize("name", ENCODINGS)
def test_repr_gives_every_argument(catalogue: dict[str, EncodingEntry], name: str) -> None:
    encoding = catalogue[name].encoding
    assert set(arguments(encoding)) == set(inspect.signature(type(encoding)).parameters)
    again = rebuilt(encoding)
    assert again.extra_repr() == encoding.extra_repr()
    again.load_state_dict(encoding.state_dict())


def test_names_and_shapes_of_weights_are_stable(catalogue: dict[str, EncodingEntry]) -> None:
    """Checkpoints of users depend on them. If you change them on purpose, change state_dicts.json too."""
    for name, expected in json.loads(STATE.read_text()).items():
        found = catalogue[name].encoding.state_dict()
        assert {key: list(value.shape) for key, value in found.items()} == expected, name


@pytest.mark.parametrize("name", ENCODINGS)
def test_lengths_beyond_max_length_are_refused(catalogue: dict[str, EncodingEntry], name: str) -> None:
    entry = catalogue[name]
    held = getattr(entry.encoding, "max_length", None)
    encoder = Encoder(copy.deepcopy(entry.encoding), 11, 3, dim=D, num_heads=H, causal=entry.causal)
    if held is None:
        assert encoder(torch.randint(11, (1, 700))).isfinite().all()
        return
    encoder(torch.randint(11, (1, held)))
    with pytest.raises(ConfigError, match=rf"holds {held} positions, got {held + 1}; raise encoding.max_length"):
        encoder(torch.randint(11, (1, held + 1)))


@pytest.mark.parametrize("heads", [1, 6])
@pytest.mark.parametrize("name", ENCODINGS)
def test_one_head_and_six(name: str, heads: int) -> None:
    file = files("encoding", OWN[0] if OWN else None)[name]
    shares = len(node_of(file).get("heads", "."))  # of a mixture over heads
    if heads % shares:
        with pytest.raises(ConfigError, match=f"{heads} heads do not split into {shares} equal shares"):
            build(file, "model.dim=48", f"model.num_heads={heads}")
        return
    encoding = build(file, "model.dim=48", f"model.num_heads={heads}")
    encoder = Encoder(encoding, 11, 3, dim=48, num_heads=heads, causal=encoding.causal_only)
    assert encoder(torch.randint(11, (2, 9))).isfinite().all()


@pytest.mark.parametrize("name", ENCODINGS)
def test_causal_only_is_what_the_constructor_refuses(
    composed: Callable[..., DictConfig], catalogue: dict[str, EncodingEntry], name: str
) -> None:
    config = composed(f"encoding={name}", "model.causal=false")
    entry = catalogue[name]
    with pytest.raises(ConfigError, match=r"model\.causal=true") if entry.causal else nullcontext():
        make(config, "encoding")


def test_the_published_sweep_leaves_out_what_its_mask_does_not_allow(catalogue: dict[str, EncodingEntry]) -> None:
    ours = {path.stem for path in (CONFIGS / "encoding").glob("*.yaml")}
    assert set(causal_only().split(",")) == {name for name in ours if catalogue[name].causal}
