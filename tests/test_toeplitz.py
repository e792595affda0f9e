"""The kernel for tables of distances agrees with the definition, at every length and block size, and holds no N×N."""

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from posenc import toeplitz
from posenc.attention import auto, explicit, sdpa
from posenc.bias import Bias, ByDistance, Dense
from posenc.mask import Mask
from posenc.positions import Positions

MASKS = [Mask(), Mask(causal=True), Mask(window=3), Mask(True, 40)]


def inputs(B: int, H: int, N: int, dtype: torch.dtype, learned: bool = True) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    q, k, v = (torch.randn(B, H, N, 8, dtype=dtype, requires_grad=True) for _ in range(3))
    return q, k, v, torch.randn(1, H, 1, 2 * N - 1, dtype=dtype, requires_grad=learned)


def gradients(out: Tensor, leaves: tuple[Tensor, ...]) -> list[Tensor]:
    weight = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    return [*torch.autograd.grad((out * weight).sum(), [leaf for leaf in leaves if leaf.requires_grad])]


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("mask", MASKS, ids=str)
@pytest.mark.parametrize("N", [1, 2, 3, 33, 100])
def test_agrees_with_the_definition(N: int, mask: Mask, learned: bool) -> None:
    leaves = q, k, v, table = inputs(3, 4, N, torch.float64, learned)
    bias, positions = ByDistance(table), Positions.arange(N)
    ours = toeplitz.attend(q, k, v, bias, positions, mask)
    theirs = explicit(q, k, v, bias, positions, mask)
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-10)
    for a, b in zip(gradients(ours, leaves), gradients(theirs, leaves), strict=True):
        torch.testing.assert_close(a, b, atol=1e-11, rtol=1e-9)


@pytest.mark.parametrize("block", [1, 50, 2_000, 2**30])
@pytest.mark.parametrize("mask", MASKS, ids=str)
def test_blocks_change_nothing(block: int, mask: Mask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toeplitz, "BLOCK", block)
    test_agrees_with_the_definition(13, mask, learned=True)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("N", [1, 64, 4096])
def test_float32_is_within_a_hundred_thousandth(N: int, causal: bool) -> None:
    leaves = q, k, v, table = inputs(1, 2, N, torch.float32)
    doubles = tuple(leaf.detach().double().requires_grad_() for leaf in leaves)
    positions, mask = Positions.arange(N), Mask(causal)
    ours = toeplitz.attend(q, k, v, ByDistance(table), positions, mask)
    theirs = explicit(doubles[0], doubles[1], doubles[2], ByDistance(doubles[3]), positions, mask)
    torch.testing.assert_close(ours.double(), theirs, atol=1e-5, rtol=1e-5)
    for a, b in zip(gradients(ours, leaves), gradients(theirs, doubles), strict=True):
        assert (a.double() - b).abs().max() <= 1e-5 * max(1, b.abs().max())


def test_a_wider_grid_is_cut_to_the_distances_that_occur() -> None:
    q, k, v, table = inputs(2, 3, 20, torch.float64)
    positions = Positions(torch.arange(4, 14)[None], span=20, consecutive=True)
    q, k, v = q[:, :, :10], k[:, :, :10], v[:, :, :10]
    ours = toeplitz.attend(q, k, v, ByDistance(table), positions, Mask())
    theirs = explicit(q, k, v, ByDistance(table), positions, Mask())
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-10)


def test_nothing_of_n_by_n_is_kept() -> None:
    N = 256
    q, k, v, table = inputs(2, 4, N, torch.float32)
    kept: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        kept[x.untyped_storage()._cdata] = x.untyped_storage().nbytes()
        return x

    with saved_tensors_hooks(pack, lambda x: x):
        toeplitz.attend(q, k, v, ByDistance(table), Positions.arange(N), Mask())
    assert sum(kept.values()) < 6 * 4 * q.numel()  # q, k, v, out; the table and the sums are small


def test_auto_takes_it_where_it_pays_and_only_there() -> None:
    def chosen(N: int, learned: bool, make: type[Bias] = ByDistance, n: int = 1, consecutive: bool = True) -> bool:
        q, _, v, table = inputs(1, 2, N, torch.float32, learned)
        bias = make(torch.zeros(1, 2, N, N)) if make is Dense else make(table.expand(1, 2, n, -1))
        positions = Positions(torch.arange(N)[None], span=N, consecutive=consecutive)
        return toeplitz.pays(q, v, bias, positions)

    assert chosen(4, learned=True)
    assert chosen(toeplitz.FIXED_FROM, learned=False)
    assert not chosen(toeplitz.FIXED_FROM - 1, learned=False)
    assert not chosen(4, learned=True, n=4)
    assert not chosen(4, learned=True, consecutive=False)
    assert not chosen(600, learned=False, make=Dense)
    q, k, v, table = inputs(2, 3, 9, torch.float64)
    for bias in (None, ByDistance(table)):
        expected = sdpa(q, k, v, bias, Positions.arange(9), Mask())
        torch.testing.assert_close(auto(q, k, v, bias, Positions.arange(9), Mask()), expected)
