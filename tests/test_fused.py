"""The fused kernel agrees with the definition for every form of bias, length and block, and holds no N×N of its own."""

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from posenc.attention.bias import Bias, ByDistance, Dense
from posenc.attention.definition import explicit
from posenc.attention.kernels import fused
from posenc.attention.mask import Mask
from posenc.positions.positions import Positions

FORMS = {
    "table": lambda B, H, N: (1, H, 1, 2 * N - 1),
    "table a sequence": lambda B, H, N: (B, H, 1, 2 * N - 1),
    "rows": lambda B, H, N: (1, H, N, 2 * N - 1),
    "rows a sequence": lambda B, H, N: (B, H, N, 2 * N - 1),
    "dense": lambda B, H, N: (1, H, N, N),
    "dense for all heads": lambda B, H, N: (B, 1, N, N),
}
MASKS = [Mask(), Mask(causal=True), Mask(window=3), Mask(True, 40)]


def inputs(
    B: int, H: int, N: int, dtype: torch.dtype, learned: bool = True, form: str = "table"
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    q, k, v = (torch.randn(B, H, N, 8, dtype=dtype, requires_grad=True) for _ in range(3))
    return q, k, v, torch.randn(FORMS[form](B, H, N), dtype=dtype, requires_grad=learned)


def as_bias(stored: Tensor, form: str) -> Bias:
    return Dense(stored) if form.startswith("dense") else ByDistance(stored)


def gradients(out: Tensor, leaves: tuple[Tensor, ...]) -> list[Tensor]:
    weight = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    return [*torch.autograd.grad((out * weight).sum(), [leaf for leaf in leaves if leaf.requires_grad])]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("mask", MASKS, ids=str)
@pytest.mark.parametrize("N", [1, 2, 33, 100])
def test_agrees_with_the_definition(N: int, mask: Mask, learned: bool, form: str) -> None:
    leaves = q, k, v, stored = inputs(3, 4, N, torch.float64, learned, form)
    bias, positions = as_bias(stored, form), Positions.arange(N)
    ours = fused.attend(q, k, v, bias, positions, mask)
    theirs = explicit(q, k, v, bias, positions, mask)
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-10)
    for a, b in zip(gradients(ours, leaves), gradients(theirs, leaves), strict=True):
        torch.testing.assert_close(a, b, atol=1e-11, rtol=1e-9)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("block", [1, 50, 200, 2_000, 2**30])
@pytest.mark.parametrize("mask", MASKS, ids=str)
def test_blocks_change_nothing(block: int, mask: Mask, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "BLOCK", block)
    test_agrees_with_the_definition(13, mask, learned=True, form=form)


@pytest.mark.slow
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("N", [1, 64, 4096])
def test_float32_is_within_a_hundred_thousandth(N: int, causal: bool) -> None:
    leaves = q, k, v, table = inputs(1, 2, N, torch.float32)
    doubles = tuple(leaf.detach().double().requires_grad_() for leaf in leaves)
    positions, mask = Positions.arange(N), Mask(causal)
    ours = fused.attend(q, k, v, ByDistance(table), positions, mask)
    theirs = explicit(doubles[0], doubles[1], doubles[2], ByDistance(doubles[3]), positions, mask)
    torch.testing.assert_close(ours.double(), theirs, atol=1e-5, rtol=1e-5)
    for a, b in zip(gradients(ours, leaves), gradients(theirs, doubles), strict=True):
        assert (a.double() - b).abs().max() <= 1e-5 * max(1, b.abs().max())


def test_a_wider_grid_is_cut_to_the_distances_that_occur() -> None:
    q, k, v, table = inputs(2, 3, 20, torch.float64)
    positions = Positions(torch.arange(4, 14)[None], span=20, consecutive=True)
    q, k, v = q[:, :, :10], k[:, :, :10], v[:, :, :10]
    ours = fused.attend(q, k, v, ByDistance(table), positions, Mask())
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
        fused.attend(q, k, v, ByDistance(table), Positions.arange(N), Mask())
    assert sum(kept.values()) < 6 * 4 * q.numel()  # q, k, v, out; the table and the sums are small


@pytest.mark.parametrize("form", ["table", "rows"])
def test_scattered_ids_are_gathered(form: str) -> None:
    leaves = q, k, v, stored = inputs(2, 3, 20, torch.float64, form=form)
    q, k, v = q[:, :, :7], k[:, :, :7], v[:, :, :7]
    stored = stored[:, :, :7]
    ids = torch.stack([torch.randperm(20)[:7].sort().values for _ in range(2)])
    positions = Positions(ids, span=20)
    ours = fused.attend(q, k, v, ByDistance(stored), positions, Mask(causal=True))
    theirs = explicit(q, k, v, ByDistance(stored), positions, Mask(causal=True))
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-10)
    for a, b in zip(gradients(ours, leaves), gradients(theirs, leaves), strict=True):
        torch.testing.assert_close(a, b, atol=1e-11, rtol=1e-9)
