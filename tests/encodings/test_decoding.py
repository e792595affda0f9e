"""For every encoding, reading token by token with a cache equals one pass, or raises ConfigError."""

import copy
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from posenc.attention import bias
from posenc.attention.bias import Dense
from posenc.attention.definition import attention_logits
from posenc.attention.kernels.choose import OPTIONS
from posenc.attention.mask import Mask
from posenc.catalog.encodings import EncodingEntry
from posenc.checks import ConfigError
from posenc.encodings import fire
from posenc.encodings.alibi import SymmetricALiBi
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.by_heads import ByHeads
from posenc.encodings.by_layers import ByLayers
from posenc.encodings.forgetting import ForgettingPositionalBias
from posenc.encodings.sums import Sum
from posenc.model.cache import Cache
from posenc.model.encoder import Encoder
from posenc.positions.apart import across, then
from posenc.positions.positions import Positions
from tests.conftest import options

N, PAST = 10, 6
ENCODINGS = options("encoding")
Build = Callable[..., PositionalEncoding]


@pytest.fixture(scope="module")
def small(build_encoding: Callable[..., Any]) -> Build:
    """Builds `encoding=NAME` for a small causal model, with random weights; each call builds a new one."""

    @cache
    def once(name: str) -> PositionalEncoding:
        return build_encoding(name, "model.dim=16", "model.num_heads=2", "model.causal=true", "dataset.length=8")

    def build(name: str) -> PositionalEncoding:
        encoding = copy.deepcopy(once(name))
        for parameter in encoding.parameters():
            nn.init.normal_(parameter, std=0.3)
        return encoding

    return build


def model(encoding: PositionalEncoding, **options: Any) -> Encoder:
    """A causal model of two layers in float64."""
    given: dict[str, Any] = {"dim": 16, "num_heads": 2, "causal": True, "readout": "per_token"} | options
    return Encoder(encoding, 11, 3, **given).double().eval()


@torch.no_grad()
def decode(encoder: Encoder, tokens: Tensor, counts: Iterable[int], first: Positions | None = None) -> Tensor:
    """The answers of the encoder, which reads `counts` tokens at a time; the first of them are at positions `first`."""
    held, parts = Cache(), []
    for part in tokens.split([*counts], 1):
        parts.append(encoder(part, first if not parts else None, cache=held))
    assert len(held) == tokens.shape[1]
    return torch.cat(parts, 1)


def refuses(encoder: Encoder) -> bool:
    """Whether an encoding has no incremental form, and says so."""
    reason = next((each.one_pass for each in encoder.encodings if each.one_pass), None)
    if reason:
        with pytest.raises(ConfigError, match=f"cannot use a cache, because {reason}"):
            encoder(torch.zeros(1, 2, dtype=torch.long), cache=Cache())
    return reason is not None


@pytest.mark.every
@pytest.mark.parametrize("name", ENCODINGS)
def test_token_by_token_and_in_chunks_is_one_pass(small: Build, name: str) -> None:
    encoder, tokens = model(small(name)), torch.randint(11, (2, N))
    if refuses(encoder):
        return
    expected = encoder(tokens)
    for counts in ([1] * N, [PAST, N - PAST]):
        torch.testing.assert_close(decode(encoder, tokens, counts), expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", ENCODINGS)
def test_prompts_that_are_padded_on_the_left_go_on_as_if_alone(small: Build, name: str) -> None:
    encoder = model(small(name))
    if refuses(encoder):
        return
    rows, pad = [torch.randint(11, (length,)) for length in (N, N - 4)], torch.zeros(4, dtype=torch.long)
    tokens = torch.stack((rows[0], torch.cat((pad, rows[1]))))
    padding = torch.tensor([[0] * PAST, [-1] * 4 + [0] * (PAST - 4)])
    found = decode(encoder, tokens, [PAST, *[1] * (N - PAST)], Positions.of_documents(padding))
    for row, out in zip(rows, found, strict=True):
        torch.testing.assert_close(out[-len(row) :], encoder(row[None])[0], atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", ENCODINGS)
def test_an_offset_is_kept_and_changes_nothing_where_positions_do_not_matter(small: Build, name: str) -> None:
    encoder, tokens = model(small(name)), torch.randint(11, (2, N))
    if refuses(encoder):
        return
    counts, start = [3, *[1] * (N - 3)], Positions.arange(3).shifted(40)
    found = decode(encoder, tokens, counts, start)
    torch.testing.assert_close(found, encoder(tokens, Positions.arange(N).shifted(40)), atol=1e-9, rtol=1e-9)
    depends = frozenset[str]().union(*(encoder.encoding(layer).depends_on for layer in range(2)))
    if not depends & {"position", "extent"}:
        torch.testing.assert_close(found, encoder(tokens), atol=2e-5, rtol=2e-5)


BLOCK: dict[str, dict[str, Any]] = {
    "grouped": {"num_kv_heads": 1, "qk_norm": "rms"},
    "sinks": {"sinks": True},
    "cap": {"soft_cap": 0.5},
    "window": {"window": [3, None], "sinks": True},
    "log n": {"logit_scale": {"form": "log_n", "original_length": 4}},
    "scalable": {"logit_scale": {"form": "scalable_softmax", "original_length": 4}, "window": [2, None]},
    "temperature": {"logit_scale": {"form": "temperature_tuning", "original_length": 2}, "logit_gain": [2.0, 0.5]},
    "inside": {"inject": "attention"},
    "peri": {"norm": "peri", "rms_norm": True},
} | {option: {"attention": option} for option in OPTIONS}


@pytest.mark.parametrize("block", BLOCK)
@pytest.mark.parametrize("name", ["rope", "shaw_keys", "forgetting", "learned_absolute"])
def test_whatever_the_block_is(small: Build, name: str, block: str) -> None:
    if block == "flex" and name != "rope":  # it takes longer than all others
        return
    encoder, tokens = model(small(name), **BLOCK[block]), torch.randint(11, (2, N))
    with torch.no_grad():
        expected = encoder(tokens)
    torch.testing.assert_close(decode(encoder, tokens, [4, 1, 1, 4]), expected, atol=1e-7, rtol=1e-7)


MIXTURES: dict[str, Callable[[Build], PositionalEncoding]] = {
    "rope-none": lambda small: ByLayers({"a": small("rope"), "b": small("none")}, ["a", "b"]),
    "lape-path": lambda small: ByLayers({"a": small("lape"), "b": small("path")}, ["a", "b"]),
    "alibi:none": lambda small: ByHeads(
        {"a": SymmetricALiBi(1), "b": PositionalEncoding()}, num_heads=2, heads=["a", "b"]
    ),
    "rope+forgetting": lambda small: Sum({"a": small("rope"), "b": small("forgetting")}),
    "path+t5+shaw": lambda small: Sum({"a": small("path"), "b": small("t5"), "c": small("shaw")}),
}


@pytest.mark.parametrize("mixture", MIXTURES)
def test_mixtures(small: Build, mixture: str) -> None:
    encoder, tokens = model(MIXTURES[mixture](small)), torch.randint(11, (2, N))
    torch.testing.assert_close(decode(encoder, tokens, [4, 1, 1, 4]), encoder(tokens), atol=1e-9, rtol=1e-9)


def test_one_part_that_reads_all_at_once_is_refused(small: Build) -> None:
    assert refuses(model(Sum({"a": small("rope_dynamic_ntk"), "b": small("alibi")})))
    assert not refuses(model(small("rope")))


@pytest.mark.parametrize("start", [Positions.arange(3), Positions(torch.tensor([[0, 4, 5]]), 6)])
def test_fire_for_some_queries_at_a_time(start: Positions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fire, "LARGE", 0)
    monkeypatch.setattr(bias, "BLOCK", 1)
    encoder, tokens = model(fire.FIREPositionalBias(2, threshold=2.0)), torch.randint(11, (2, N))
    found = decode(encoder, tokens, [3, 4, 3], start)
    whole = then(start, N - 3)
    torch.testing.assert_close(found, encoder(tokens, whole), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ENCODINGS)
def test_the_layers_input_is_read_where_that_is_declared(catalogue: dict[str, EncodingEntry], name: str) -> None:
    encoding = copy.deepcopy(catalogue[name].encoding)
    x, q, positions = torch.full((1, 5, 64), float("nan")), torch.randn(1, 4, 5, 16), Positions.arange(5)
    q, k = encoding.rotate(x, q, q, positions)
    logits = attention_logits(q, k, 16, encoding.bias(x, q, k, positions), positions, Mask())
    assert bool(logits.isnan().any()) == encoding.reads_input


@pytest.mark.parametrize("name", ENCODINGS)
def test_another_sequence_is_read_by_position_or_not_at_all(catalogue: dict[str, EncodingEntry], name: str) -> None:
    """Cross-attention: logits of 3 queries and 5 keys at any positions are a part of the logits of these 8 tokens."""
    encoding = copy.deepcopy(catalogue[name].encoding).double()
    if encoding.hooks in ((), ("embed",)) or "extent" in encoding.depends_on:
        return
    ids = torch.tensor([[4, 9, 2, 0, 5, 6, 9, 3]])
    q, k = (torch.randn(2, 4, n, 16, dtype=torch.float64) for n in (3, 5))
    x = torch.randn(2, 5, 64, dtype=torch.float64)
    apart = across(Positions(ids[:, :3], 10), Positions(ids[:, 3:], 12))
    together = Positions(ids, 12)
    if "order" in encoding.depends_on or encoding.reads_input:
        with pytest.raises(ConfigError, match="keys of another sequence have no place in it"):
            encoding.bias(x, *encoding.rotate(x, q, k, apart), apart)
        return

    def logits(q: Tensor, k: Tensor, positions: Positions) -> Tensor:
        q, k = encoding.rotate(x, q, k, positions)
        return attention_logits(q, k, 16, encoding.bias(x, q, k, positions), positions, Mask())

    both = torch.cat((q, torch.zeros_like(k)), 2), torch.cat((torch.zeros_like(q), k), 2)
    torch.testing.assert_close(logits(q, k, apart), logits(*both, together)[:, :, :3, 3:], atol=1e-5, rtol=1e-5)


def test_what_does_not_go_on_is_refused(small: Build) -> None:
    encoder, tokens = model(small("rope")), torch.zeros(2, 3, dtype=torch.long)
    held = Cache()
    encoder(tokens, cache=held)
    for wrong, positions, message in (
        (tokens[:1], None, r"1 sequences in 2 layers \(.*\) cannot follow 2 in 2 "),
        (tokens, Positions.arange(4), "3 tokens .* but 4 positions"),
        (tokens, Positions(torch.arange(3)[None], 3, scale=0.5), "give all tokens of a sequence the same scale"),
        (tokens, Positions.of_documents(tokens), "documents to all of them or to none"),
        (tokens, Positions.arange(6).last(3), "the cache has those of the keys"),
    ):
        with pytest.raises(ConfigError, match=message):
            encoder(wrong, positions, cache=held)
    assert encoder(tokens, cache=held).shape == (2, 3, 3)
    for other in ({"dim": 32}, {"num_kv_heads": 1}, {"num_layers": 3}):
        with pytest.raises(ConfigError, match=r"cannot follow 2 in 2 \(2 heads of keys, 8 wide\)"):
            model(PositionalEncoding(), **other)(tokens, cache=held)
    for option in ({"causal": False}, {"readout": "mean"}, {"readout": "query"}):
        with pytest.raises(ConfigError, match=r"needs later tokens; set model.causal=true"):
            model(small("rope"), **option)(tokens, cache=Cache())


def test_a_copy_of_a_cache_goes_on_alone_and_with_gradients(small: Build) -> None:
    """A cache is copied and continued in two ways, as in beam search; outputs and gradients equal those of one pass."""
    encoder, (first, *more) = model(small("t5")), torch.randint(11, (3, 2, 4))
    weights, held = tuple(encoder.parameters()), Cache()
    encoder(first, cache=held)
    for tokens in more:
        found, expected = encoder(tokens, cache=copy.deepcopy(held)), encoder(torch.cat((first, tokens), 1))[:, 4:]
        torch.testing.assert_close(found, expected)
        gradients = (torch.autograd.grad(out.square().sum(), weights, retain_graph=True) for out in (found, expected))
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other)
    assert len(held) == 4


def test_shapes_that_would_broadcast_are_refused(catalogue: dict[str, EncodingEntry]) -> None:
    encoding, q, k = catalogue["rope"].encoding, torch.randn(1, 4, 1, 16), torch.randn(1, 4, 11, 16)
    x = torch.randn(1, 11, 64)
    with pytest.raises(ConfigError, match=r"1 tokens .* but 11 positions"):
        encoding.rotate(x, q, k, Positions.arange(11))
    with pytest.raises(ConfigError, match=r"one shape.*Positions.arange\(11\).last\(1\)"):
        encoding.rotate(x, q, k, Positions.arange(1))
    with pytest.raises(ConfigError, match=r"11 tokens .* but 12 positions"):
        encoding.rotate(x, q, k, Positions.arange(12).last(1))
    assert encoding.rotate(x, q, k, Positions.arange(11).last(1))[0].shape == q.shape
    with pytest.raises(ConfigError, match=r"11 queries and 11 keys, but 1 and 11 positions"):
        Dense(torch.randn(1, 1, 11, 11)).matrix(Positions.arange(11).last(1))
    for make in (
        lambda: Positions.arange(3).last(4),
        lambda: Positions.arange(3).last(0),
        lambda: Positions.arange(3).last(2).last(1),
        lambda: Positions(torch.arange(3)[None], 3, keys=Positions.arange(4)),
        lambda: Positions(torch.arange(3)[None], 4, keys=Positions.arange(4), consecutive=True),
        lambda: Positions(torch.arange(5)[None], 5, keys=Positions(torch.arange(4)[None], 5), among=True),
    ):
        with pytest.raises(ConfigError, match="Positions: "):
            make()


def test_an_input_that_is_not_declared_is_not_read_unnoticed() -> None:
    class Forgetful(ForgettingPositionalBias):
        reads_input = False

    encoder, tokens = model(Forgetful(16, 2, True)), torch.zeros(1, 3, dtype=torch.long)
    assert encoder(tokens).isfinite().all()
    assert encoder(tokens, cache=Cache()).isnan().all()
