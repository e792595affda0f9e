"""Kernels read shapes and strides as they are: whatever the layout of q, k, v and the bias, the definition's answer."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from posenc.attention.bias import Bias, ByDistance, ByPairs, ByQuery, Dense
from posenc.attention.definition import explicit
from posenc.attention.kernels import bfloat16, by_pairs, by_query, fused
from posenc.attention.layer import SelfAttention
from posenc.attention.mask import Mask
from posenc.checks import ConfigError
from posenc.positions.positions import Positions
from tests.kernels import IMPLEMENTATIONS

B, H, N, C = 2, 3, 9, 8
LAYOUTS: dict[str, Callable[..., Tensor]] = {
    "plain": lambda *shape: torch.randn(shape),
    "transposed": lambda *shape: torch.randn(*shape[:-2], shape[-1], shape[-2]).mT,
    "heads inside": lambda b, h, n, c: torch.randn(b, n, h, c).transpose(1, 2),
    "every second": lambda *shape: torch.randn(*shape[:-1], 2 * shape[-1])[..., ::2],
    "odd offset": lambda *shape: torch.randn(*shape[:-1], shape[-1] + 3)[..., 3:],
    "one batch, expanded": lambda b, *rest: torch.randn(1, *rest).expand(b, *rest),
    "one value a row": lambda *shape: torch.randn(*shape[:-1], 1).expand(shape),
    "backwards": lambda *shape: torch.randn(shape).flip(-1).transpose(0, 1).contiguous().transpose(0, 1),
    "one sequence": lambda b, *rest: torch.randn(1, *rest),
    "one head": lambda b, h, *rest: torch.randn(b, 1, *rest),
}
layouts = st.sampled_from(sorted(LAYOUTS))


def make(layout: str, *shape: int) -> Tensor:
    return LAYOUTS[layout](*shape)


def biases(kind: str, layout: str, values: str) -> Bias | None:
    """Of the given layout; rows of one value have no bias to tell."""
    M = 2 * N - 1
    if kind == "none":
        return None
    if kind == "dense":
        return Dense(make(layout, B, H, N, N))
    if kind == "pairs":
        return ByPairs(lambda given, m, n: given[0][..., m, n], (make(layout, B, H, N, N),), width=1)
    if kind == "read":
        read = LAYOUTS[layout](B, H, N, C)
        vectors = make("plain" if "one" in layout or layout == "heads inside" else layout, H, M, C)
        return ByQuery(read, vectors, None if values == "none" else make("transposed", H, M, C))
    rows = {"by distance": 1, "by query": N}[kind]
    return ByDistance(make(layout, 1 if rows == 1 else B, H, rows, M))


def asked(bias: Bias | None, learned: bool) -> tuple[Bias | None, list[Tensor]]:
    """The bias with leaves that have its strides, and those."""
    if bias is None or not learned:
        return bias, []
    if isinstance(bias, ByPairs):
        leaf = bias.parameters[0].detach().requires_grad_()
        return replace(bias, parameters=(leaf,)), [leaf]
    leaves = {
        f.name: getattr(bias, f.name).detach().requires_grad_()
        for f in fields(bias)
        if getattr(bias, f.name) is not None
    }
    return replace(bias, **leaves), [*leaves.values()]


@pytest.mark.slow
@given(
    q=layouts,
    k=layouts,
    v=layouts,
    b=layouts,
    kind=st.sampled_from(["none", "by distance", "by query", "read", "dense", "pairs"]),
    values=st.sampled_from(["none", "some"]),
    learned=st.booleans(),
    mask=st.sampled_from([Mask(), Mask(True), Mask(False, 3), Mask(True, 2)]),
    ids=st.sampled_from(["consecutive", "spread"]),
)
@example("one head", "one head", "one head", "one head", "read", "none", False, Mask(), "consecutive")
@settings(max_examples=100, deadline=None)
def test_no_layout_changes_the_answer(
    q: str, k: str, v: str, b: str, kind: str, values: str, learned: bool, mask: Mask, ids: str
) -> None:
    torch.manual_seed(0)
    first, second, third = (make(each, B, H, N, C).requires_grad_() for each in (q, k, v))
    heads = (first, second, third)
    bias, leaves = asked(biases(kind, b, values), learned)
    at = Positions.arange(N)
    at = at if ids == "consecutive" or kind == "dense" else Positions(at.ids, span=N)
    try:
        expected = explicit(*heads, bias, at, mask)
    except (RuntimeError, ConfigError):
        return  # the definition refuses it
    slopes = torch.autograd.grad(expected.sum(), [*heads, *leaves])
    for name in ("auto", "fused", "sdpa", "toeplitz"):
        try:
            found = IMPLEMENTATIONS[name](*heads, bias, at, mask)
        except ConfigError:
            continue
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        for a, c in zip(torch.autograd.grad(found.sum(), [*heads, *leaves]), slopes, strict=True):
            torch.testing.assert_close(a, c, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("attend", [fused.attend, by_query.attend, by_pairs.attend, bfloat16.attend])
@pytest.mark.parametrize("wrong", ["queries", "keys", "heads", "batch", "bias"])
def test_what_no_kernel_can_read_is_refused(attend: Any, wrong: str) -> None:
    q, k, v = torch.randn(3, B, H, N, C)
    q, k = {"queries": (q[:, :, :1], k), "keys": (q, k[:, :, :4])}.get(wrong, (q, k))
    q, k = {"heads": (q, k[:, :2]), "batch": (q, torch.cat((k, k[:1])))}.get(wrong, (q, k))
    heads = 2 if wrong == "bias" else H
    read = ByQuery(torch.randn(B, heads, N, C), torch.randn(1, 2 * N - 1, C))
    pairs = ByPairs(lambda _, m, n: torch.randn(1, heads, N, N)[..., m, n], (), width=1)
    by_distance = ByDistance(torch.randn(1, heads, 1, 2 * N - 1))
    bias = {by_query.attend: read, by_pairs.attend: pairs}.get(attend, by_distance)
    with pytest.raises(ConfigError, match="attention: "):
        attend(q, k, v, bias, Positions.arange(N), Mask())


@pytest.mark.parametrize("name", [name for name in IMPLEMENTATIONS if name != "flex"])
def test_one_query_is_no_row_for_each_position(name: str) -> None:
    q, k = torch.randn(B, H, 1, C), torch.randn(B, H, N, C)
    for bias in (None, ByDistance(torch.randn(1, H, 1, 2 * N - 1, requires_grad=True))):
        with pytest.raises(ConfigError, match="but 9 positions"):
            IMPLEMENTATIONS[name](q, k, k, bias, Positions.arange(N), Mask())


@pytest.mark.parametrize("name", ["rope", "rope_half", "rope_partial", "xpos", "pope", "p_rope"])
@pytest.mark.parametrize("layout", [name for name in sorted(LAYOUTS) if name not in ("one sequence", "one head")])
def test_queries_turn_whatever_their_layout(build_encoding: Callable[..., Any], name: str, layout: str) -> None:
    encoding = build_encoding(name, "model.dim=24", "model.num_heads=3")
    q, k = make(layout, B, H, N, C), torch.randn(B, H, N, C)
    x, at = torch.randn(B, N, H * C), Positions.arange(N)
    for found, plain in zip(encoding.rotate(x, q, k, at), encoding.rotate(x, q.contiguous(), k, at), strict=True):
        torch.testing.assert_close(found, plain)


@pytest.mark.parametrize("name", ["none", "rope", "shaw", "transformer_xl", "dape", "t5", "cope"])
def test_a_layer_takes_no_sequences(build_encoding: Callable[..., Any], name: str) -> None:
    causal = name == "cope"
    layer = SelfAttention(24, H, causal)
    encoding = build_encoding(name, "model.dim=24", "model.num_heads=3", f"model.causal={str(causal).lower()}")
    for attend in ("auto", "fused", "explicit"):
        layer.attention = attend
        assert layer(torch.randn(0, N, 24), encoding, Positions.arange(N)).shape == (0, N, 24)
