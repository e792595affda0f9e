"""Attention in bfloat16: as close to the definition as its rounding allows, forward and backward, block by block."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from posenc import narrow
from posenc.attention import explicit
from posenc.mask import Mask
from posenc.positions import Positions

MASKS = {"open": Mask(), "causal": Mask(causal=True), "window": Mask(window=3)}


def gradients(out: Tensor, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Of one loss that weighs every entry differently."""
    weights = torch.linspace(-1, 1, out.numel()).view(out.shape)
    return torch.autograd.grad((out.float() * weights).sum(), inputs)


def inputs(B: int, H: int, N: int, d: int, wider: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """q, k, v that bfloat16 holds exactly, so that what is left is the rounding inside."""
    widths = (d + wider, d + wider, d)
    q, k, v = (torch.randn(B, H, N, c).bfloat16().float().requires_grad_() for c in widths)
    return q, k, v


def check(q: Tensor, k: Tensor, v: Tensor, mask: Mask) -> None:
    expected = explicit(q, k, v, None, Positions.arange(q.shape[-2]), mask)
    found = narrow.attend(q, k, v, mask)
    assert found.dtype == torch.bfloat16
    assert (found - expected).norm() <= 0.01 * expected.norm()
    pairs = zip(gradients(found, (q, k, v)), gradients(expected, (q, k, v)), strict=True)
    for name, (one, other) in zip("qkv", pairs, strict=True):
        # Where one key takes all the weight, q and k have no gradient, and rounding is all that is left of it.
        assert (one - other).norm() <= 0.03 * other.norm() + 0.01 * v.norm(), name


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("N", [1, 2, 31, narrow.KEPT, narrow.KEPT + 1, 100, narrow.LONGEST])
def test_agrees_with_the_definition(N: int, mask: str) -> None:
    check(*inputs(2, 3, N, 8), MASKS[mask])


@given(B=st.integers(1, 5), H=st.integers(1, 5), N=st.integers(65, 90), d=st.integers(4, 12), wider=st.integers(0, 5))
def test_every_shape(B: int, H: int, N: int, d: int, wider: int) -> None:
    check(*inputs(B, H, N, d, wider), Mask())


@pytest.mark.parametrize("heads", [1, 2, 5, 7])
def test_blocks_are_of_one_mind(monkeypatch: pytest.MonkeyPatch, heads: int) -> None:
    q, k, v = inputs(1, 7, 70, 8)
    whole = narrow.attend(q, k, v, Mask())
    expected = gradients(whole, (q, k, v))
    monkeypatch.setattr(narrow, "BLOCK", heads * 70 * 70)
    found = narrow.attend(q, k, v, Mask())
    torch.testing.assert_close(found, whole, atol=0, rtol=0.01)
    for one, other in zip(gradients(found, (q, k, v)), expected, strict=True):
        torch.testing.assert_close(one, other, atol=0.01, rtol=0.01)


def test_nothing_of_n_by_n_is_kept() -> None:
    B, H, N, d = 1, 2, 256, 8
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        narrow.attend(*inputs(B, H, N, d), Mask())
    assert kept
    assert max(x.numel() for x in kept) <= B * H * N * d


def test_where_it_pays() -> None:
    assert narrow.pays(narrow.LONGEST, Mask())
    assert not narrow.pays(narrow.LONGEST + 1, Mask())
    assert narrow.pays(narrow.KEPT, Mask(causal=True))
    assert not narrow.pays(narrow.KEPT + 1, Mask(causal=True))
    assert not narrow.pays(narrow.KEPT + 1, Mask(window=2))
