"""Attention in bfloat16: as close to the definition as its rounding allows, forward and backward, block by block."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from posenc.attention.bias import ByDistance, ByQuery, Dense
from posenc.attention.definition import explicit
from posenc.attention.kernels import bfloat16
from posenc.attention.kernels.choose import BLOCKS_UP_TO, KEEP_UP_TO
from posenc.attention.mask import Mask
from posenc.positions.positions import Positions


def gradients(out: Tensor, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Of one loss that weighs every entry differently."""
    weights = torch.linspace(-1, 1, out.numel()).view(out.shape)
    return torch.autograd.grad((out.float() * weights).sum(), inputs)


def exact(*shape: int) -> Tensor:
    """Normal numbers that bfloat16 holds exactly, so that what is left is the rounding inside."""
    return torch.randn(shape).bfloat16().float().requires_grad_()


def check(B: int, H: int, N: int, d: int, wider: int = 0, heads: int | None = None, spare: int = 0) -> None:
    """Against the definition; heads of the table, None without a bias; spare distances that do not occur."""
    q, k, v = exact(B, H, N, d + wider), exact(B, H, N, d + wider), exact(B, H, N, d)
    positions = Positions(torch.arange(N)[None], span=N + spare, consecutive=True)
    table = None if heads is None else exact(1, heads, 1, 2 * positions.span - 1)
    bias = None if table is None else ByDistance(table)
    inputs = (q, k, v) if table is None else (q, k, v, table)
    expected = explicit(q, k, v, bias, positions, Mask())
    found = bfloat16.attend(q, k, v, bias, positions, Mask())
    assert found.dtype == torch.bfloat16
    assert (found - expected).norm() <= 0.01 * expected.norm()
    for one, other in zip(gradients(found, inputs), gradients(expected, inputs), strict=True):
        assert one.dtype == torch.float32
        # Where one key takes all the weight, logits have no gradient, and rounding is all that is left of it.
        assert (one - other).norm() <= 0.03 * other.norm() + 0.01 * v.norm()


@pytest.mark.parametrize("heads", [None, 1, 3])
@pytest.mark.parametrize("N", [1, 2, 31, KEEP_UP_TO + 1, BLOCKS_UP_TO])
def test_agrees_with_the_definition(N: int, heads: int | None) -> None:
    check(2, 3, N, 8, heads=heads)


@pytest.mark.parametrize("mask", [Mask(), Mask(causal=True), Mask(window=3)])
@pytest.mark.parametrize("kind", ["none", "table", "values", "dense"])
def test_short_sequences_under_every_bias_and_mask(kind: str, mask: Mask) -> None:
    B, H, N, d, positions = 2, 3, 20, 8, Positions.arange(20)
    q, k, v, table = exact(B, H, N, d), exact(B, H, N, d), exact(B, H, N, d), exact(1, H, 1, 2 * N - 1)
    queries, vectors, values = exact(B, H, N, 2), exact(1, 2 * N - 1, 2), exact(1, 2 * N - 1, d)
    dense = exact(B, H, N, N)
    bias, inputs = {
        "none": (None, (q, k, v)),
        "table": (ByDistance(table), (q, k, v, table)),
        "values": (ByQuery(queries, vectors, values), (q, k, v, queries, vectors, values)),
        "dense": (Dense(dense), (q, k, v, dense)),
    }[kind]
    expected, found = explicit(q, k, v, bias, positions, mask), bfloat16.products(q, k, v, bias, positions, mask)
    assert (found - expected).norm() <= 0.01 * expected.norm()
    for one, other in zip(gradients(found, inputs), gradients(expected, inputs), strict=True):
        assert (one - other).norm() <= 0.03 * other.norm()


@given(
    B=st.integers(1, 5),
    H=st.integers(1, 5),
    N=st.integers(2, 90),
    d=st.integers(4, 12),
    wider=st.integers(0, 5),
    biased=st.booleans(),
    spare=st.integers(0, 9),
)
def test_every_shape(B: int, H: int, N: int, d: int, wider: int, biased: bool, spare: int) -> None:
    check(B, H, N, d, wider, H if biased else None, spare)


@pytest.mark.parametrize("some", [1, 2, 5, 7])
def test_blocks_are_of_one_mind(monkeypatch: pytest.MonkeyPatch, some: int) -> None:
    q, k, v, table = exact(7, 2, 70, 8), exact(7, 2, 70, 8), exact(7, 2, 70, 8), exact(1, 2, 1, 139)
    positions = Positions.arange(70)
    whole = bfloat16.attend(q, k, v, ByDistance(table), positions, Mask())
    expected = gradients(whole, (q, k, v, table))
    monkeypatch.setattr(bfloat16, "BLOCK", some * 70 * 70)
    found = bfloat16.attend(q, k, v, ByDistance(table), positions, Mask())
    torch.testing.assert_close(found, whole, atol=0, rtol=0.01)
    for one, other in zip(gradients(found, (q, k, v, table)), expected, strict=True):
        torch.testing.assert_close(one, other, atol=0.01 * float(other.abs().max()), rtol=0.01)


def test_a_fixed_table_gets_no_gradient() -> None:
    q, k, v, positions = exact(1, 2, 70, 8), exact(1, 2, 70, 8), exact(1, 2, 70, 8), Positions.arange(70)
    table = torch.randn(1, 2, 1, 139)
    bfloat16.attend(q, k, v, ByDistance(table), positions, Mask()).sum().backward()
    assert table.grad is None
    assert q.grad is not None


@pytest.mark.parametrize("heads", [None, 2])
def test_nothing_of_n_by_n_is_kept(heads: int | None) -> None:
    B, H, N, d = 1, 2, 256, 8
    table = None if heads is None else ByDistance(exact(1, heads, 1, 2 * N - 1))
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        bfloat16.attend(exact(B, H, N, d), exact(B, H, N, d), exact(B, H, N, d), table, Positions.arange(N), Mask())
    assert kept
    assert max(x.numel() for x in kept) <= B * H * N * d
