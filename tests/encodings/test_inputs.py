"""Wrong shapes are refused. Results hold at far positions, in bfloat16, on the meta device and with checkpointing."""

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from posenc.attention.bias import ByDistance, ByPairs, ByQuery
from posenc.attention.definition import attention_logits
from posenc.attention.layer import SelfAttention
from posenc.attention.mask import Mask
from posenc.catalog.encodings import EncodingEntry
from posenc.checks import ConfigError
from posenc.encodings.base import PositionalEncoding
from posenc.positions.positions import Positions
from tests.conftest import options
from tests.encodings.rebuild import rebuilt

ENCODINGS = options("encoding")
D, H, N = 64, 4, 12


def loud(entry: EncodingEntry) -> PositionalEncoding:
    """A copy with random weights, so that none of them is 0."""
    again = copy.deepcopy(entry.encoding)
    for parameter in again.parameters():
        nn.init.normal_(parameter, std=0.1)
    return again


def logits(encoding: PositionalEncoding, x: Tensor, q: Tensor, k: Tensor, positions: Positions, causal: bool) -> Tensor:
    turned, others = encoding.rotate(x, q, k, positions)
    bias = encoding.bias(x, turned, others, positions)
    return attention_logits(turned, others, q.shape[-1], bias, positions, Mask(causal))


@pytest.mark.parametrize("name", ENCODINGS)
def test_what_would_broadcast_is_refused_by_every_hook_and_by_the_layer(catalogue: Any, name: str) -> None:
    encoding, causal = catalogue[name].encoding, catalogue[name].causal
    x, q = torch.randn(2, 10, D), torch.randn(2, H, 10, D // H)
    layer, own = SelfAttention(D, H, causal), set(encoding.hooks)
    for wrong in (Positions.arange(1), Positions.arange(9), Positions(torch.arange(10).expand(3, 10), 10)):
        with pytest.raises(ConfigError, match=r"10 tokens .*positions"):
            layer(x, encoding, wrong)
        for hook in own & {"rotate", "bias"}:
            with pytest.raises(ConfigError, match=r"10 tokens .*positions"):
                getattr(encoding, hook)(x, q, q, wrong)
        if "embed" in own:
            with pytest.raises(ConfigError, match=r"10 tokens .*positions"):
                encoding.embed(x, wrong)
    for hook in own & {"rotate", "bias"}:
        for queries, keys in ((q[:, :, :1], q), (q, q[:, :, :1]), (q[:1], q), (q, q[:, :1])):
            with pytest.raises(ConfigError, match=r"positions|one shape"):
                getattr(encoding, hook)(x, queries, keys, Positions.arange(10))
    heads = getattr(encoding, "num_heads", None)
    if heads is not None:
        with pytest.raises(ConfigError, match=f"was built for num_heads={heads}, the model has num_heads=8"):
            SelfAttention(D, 8, causal)(x, encoding, Positions.arange(10))
    if causal:
        with pytest.raises(ConfigError, match="was built for causal=True"):
            SelfAttention(D, H, False)(x, encoding, Positions.arange(10))


@pytest.mark.parametrize("name", ENCODINGS)
def test_activation_checkpointing_changes_no_gradient(catalogue: Any, name: str) -> None:
    """Non-reentrant checkpointing gives each saved tensor only once."""
    encoding, layer = loud(catalogue[name]), SelfAttention(D, H, catalogue[name].causal)
    x, positions = torch.randn(2, N, D, requires_grad=True), Positions.arange(N)
    leaves = [x, *layer.parameters(), *encoding.parameters()]

    def block(x: Tensor) -> Tensor:
        return layer(encoding.embed(x, positions), encoding, positions)

    plain = torch.autograd.grad(block(x).square().sum(), leaves)
    again = torch.autograd.grad(checkpoint(block, x, use_reentrant=False).square().sum(), leaves)
    for a, b in zip(plain, again, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", ENCODINGS)
def test_a_second_derivative_is_right_or_refused(catalogue: Any, name: str) -> None:
    encoding, layer = loud(catalogue[name]).double(), SelfAttention(D, H, catalogue[name].causal).double()
    x, positions = torch.randn(2, N, D, dtype=torch.float64, requires_grad=True), Positions.arange(N)

    def second() -> Tensor:
        y = x + layer(encoding.embed(x, positions), encoding, positions)  # a path around attention
        (slope,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), x)[0]

    with refusal():
        found = second()
        layer.attention = "explicit"
        torch.testing.assert_close(found, second())


@contextmanager
def refusal() -> Iterator[None]:
    """Only an error that says that there is no second derivative may be raised inside."""
    try:
        yield
    except RuntimeError as error:
        if not re.search("has no second derivative|is not implemented", str(error)):
            raise


@pytest.mark.parametrize("name", ENCODINGS)
def test_far_positions_are_as_exact_as_near_ones(catalogue: Any, name: str) -> None:
    """In float32, at positions shifted by 100,000."""
    entry = catalogue[name]
    if entry.encoding.depends_on & {"position"} or "embed" in entry.encoding.hooks:
        return
    encoding, near = loud(entry), Positions.arange(5)
    x, q, k = torch.randn(1, 5, D), torch.randn(1, H, 5, D // H), torch.randn(1, H, 5, D // H)
    if "extent" in entry.encoding.depends_on:
        near, far = near.shifted(99_990), near.shifted(100_000)
    else:
        far = near.shifted(100_000)
    with torch.no_grad():
        here, there = (logits(encoding, x, q, k, at, entry.causal) for at in (near, far))
    torch.testing.assert_close(there, here, atol=2e-4 if near.extent < 1e4 else 1e-2, rtol=0)


@pytest.mark.parametrize("name", ENCODINGS)
def test_on_the_meta_device_there_are_shapes(catalogue: Any, name: str) -> None:
    encoding = copy.deepcopy(catalogue[name].encoding).to("meta")
    layer = SelfAttention(D, H, catalogue[name].causal).to("meta")
    x, positions = torch.empty(2, N, D, device="meta"), Positions.arange(N, "meta")
    assert layer(encoding.embed(x, positions), encoding, positions).shape == (2, N, D)


COARSE = {"rope_multimodal": 0.85}
"""Encodings that rotate by columns with the lowest frequencies only; bfloat16 separates seven steps of eight."""


def changes(encoding: PositionalEncoding, dtype: torch.dtype) -> Tensor:
    """For each part of the encoding, the share of positions (or distances) from 256 on that differ from the next."""
    positions, M = Positions.arange(1024), 1024
    zeros, q = torch.zeros(1, M, D, dtype=dtype), torch.ones(1, H, M, D // H, dtype=dtype)
    found = [(encoding.embed(zeros, positions) - zeros)[0]]
    turned, others = encoding.rotate(zeros, q, q, positions)
    found += [(other - other[:, :, :1])[0].movedim(0, 1).flatten(1) for other in (turned, others)]
    if "content" not in encoding.depends_on:
        bias = encoding.bias(zeros, turned, others, positions)
        if isinstance(bias, ByDistance):
            found.append(bias.table[0, :, 0].T[M - 1 :])
        elif isinstance(bias, ByQuery):
            found.append(bias.vectors.transpose(0, 1).flatten(1)[M - 1 :])
        elif isinstance(bias, ByPairs):
            found.append(bias.logits(bias.parameters, slice(0, 1), slice(0, M))[0, :, 0].T)
    return torch.stack([(each.diff(dim=0)[256:] != 0).any(-1).float().mean() for each in found])


@torch.no_grad()
@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
@pytest.mark.parametrize("name", ENCODINGS)
def test_neighbours_differ_as_in_float32_whatever_the_precision(catalogue: Any, name: str, precision: str) -> None:
    encoding = copy.deepcopy(catalogue[name].encoding)
    if (getattr(encoding, "max_length", None) or 1024) < 1024:
        encoding = rebuilt(encoding, max_length=1024)
    expected = changes(encoding, torch.float32)
    mixed = precision == "bf16-mixed"
    if not mixed:
        encoding = encoding.to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        found = changes(encoding, torch.float32 if mixed else torch.bfloat16)
    assert (found >= COARSE.get(name, 0.95) * expected).all(), (found, expected)
