"""Attention under vectors that queries read agrees with the definition for every mask, length and block."""

import pytest
import torch
from torch import Tensor

from posenc.attention.bias import ByDistance, ByQuery
from posenc.attention.definition import explicit
from posenc.attention.kernels import by_query
from posenc.attention.mask import Mask
from posenc.positions.positions import Positions
from posenc.training.memory import saved_bytes
from tests.kernels import auto

B, H = 2, 3
MASKS = [Mask(), Mask(causal=True), Mask(window=3), Mask(True, 40)]


Leaves = tuple[Tensor, Tensor, Tensor]


def inputs(N: int, shared: bool, values: bool, dtype: torch.dtype = torch.float64) -> tuple[Leaves, ByQuery]:
    """q, k, v; and a bias."""
    q, k, v, queries = (torch.randn(B, H, N, 4, dtype=dtype, requires_grad=True) for _ in range(4))
    heads = 1 if shared else H
    vectors = [torch.randn(heads, 2 * N - 1, 4, dtype=dtype, requires_grad=True) for _ in range(1 + values)]
    return (q, k, v), ByQuery(queries, *vectors)


def gradients(out: Tensor, qkv: Leaves, bias: ByQuery) -> list[Tensor]:
    weight = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    leaves = [x for x in (*qkv, bias.queries, bias.vectors, bias.values) if x is not None]
    return [*torch.autograd.grad((out * weight).sum(), leaves)]


@pytest.mark.parametrize("values", [True, False])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("mask", MASKS, ids=str)
@pytest.mark.parametrize("N", [1, 2, 33])
def test_agrees_with_the_definition(N: int, mask: Mask, shared: bool, values: bool) -> None:
    qkv, bias = inputs(N, shared, values)
    ours, theirs = (f(*qkv, bias, Positions.arange(N), mask) for f in (by_query.attend, explicit))
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-10)
    for a, b in zip(gradients(ours, qkv, bias), gradients(theirs, qkv, bias), strict=True):
        torch.testing.assert_close(a, b, atol=1e-11, rtol=1e-9)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("mask", MASKS, ids=str)
@pytest.mark.parametrize(("block", "rows"), [(1, 5), (60, 5), (200, 13), (700, 2), (2**30, 4)])
def test_blocks_change_nothing(
    block: int, rows: int, mask: Mask, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_query, "BLOCK", block)
    monkeypatch.setattr(by_query, "ROWS", rows)
    monkeypatch.setattr(by_query, "LEAST", 1)
    test_agrees_with_the_definition(13, mask, shared, values=True)


@pytest.mark.slow
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("N", [64, 1500])
def test_float32_is_within_a_hundred_thousandth(N: int, causal: bool) -> None:
    qkv, bias = inputs(N, shared=True, values=True, dtype=torch.float32)
    parts = (*qkv, bias.queries, bias.vectors, bias.values)
    q, k, v, *rest = (x.detach().double().requires_grad_() for x in parts if x is not None)
    positions, mask = Positions.arange(N), Mask(causal)
    ours = by_query.attend(*qkv, bias, positions, mask)
    theirs = explicit(q, k, v, ByQuery(*rest), positions, mask)
    torch.testing.assert_close(ours.double(), theirs, atol=1e-5, rtol=1e-5)
    for a, b in zip(gradients(ours, qkv, bias), gradients(theirs, (q, k, v), ByQuery(*rest)), strict=True):
        assert (a.double() - b).abs().max() <= 1e-5 * max(1, b.abs().max())


def test_logits_that_overflow_an_exponential_do_no_harm() -> None:
    qkv, bias = inputs(20, shared=True, values=True)
    with torch.no_grad():
        qkv[0].mul_(1000)
    ours, theirs = (f(*qkv, bias, Positions.arange(20), Mask()) for f in (by_query.attend, explicit))
    torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-8)


def test_a_wider_grid_is_cut_to_the_distances_that_occur() -> None:
    (q, k, v), whole = inputs(20, shared=False, values=True)
    positions = Positions(torch.arange(4, 14)[None], span=20, consecutive=True)
    q, k, v, queries = (x[:, :, :10] for x in (q, k, v, whole.queries))
    bias = ByQuery(queries, whole.vectors, whole.values)
    ours, theirs = (f(q, k, v, bias, positions, Mask()) for f in (by_query.attend, explicit))
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-10)


def test_nothing_of_n_by_n_is_kept() -> None:
    N = 256
    qkv, bias = inputs(N, shared=True, values=True, dtype=torch.float32)
    kept = saved_bytes(torch.nn.Identity(), lambda: by_query.attend(*qkv, bias, Positions.arange(N), Mask()))
    assert kept < 7 * 4 * qkv[0].numel()  # q, k, v, queries, out; vectors and sums are small


def test_scattered_places_give_the_same_answer() -> None:
    qkv, bias = inputs(9, shared=True, values=True)
    scattered = Positions(torch.arange(9)[None], span=9)
    torch.testing.assert_close(auto(*qkv, bias, scattered, Mask()), auto(*qkv, bias, Positions.arange(9), Mask()))


def test_it_is_its_table() -> None:
    _, bias = inputs(7, shared=False, values=False)
    for positions in (Positions.arange(7), Positions(torch.tensor([[4, 2, 0, 1, 5, 3, 6]]), span=7)):
        assert torch.equal(bias.matrix(positions), ByDistance(bias.table).matrix(positions))
    assert bias.learned
    assert not ByQuery(bias.queries.detach(), bias.vectors.detach()).learned


@pytest.mark.parametrize("mask", MASKS, ids=str)
@pytest.mark.parametrize(("reach", "rows"), [(0, 5), (3, 5), (3, 33), (7, 2), (40, 13)])
def test_vectors_that_distances_share_are_read_once(
    mask: Mask, reach: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer, and the gradient of the table that clipped distances are read from, are the definition's."""
    N, positions = 33, Positions.arange(33)
    monkeypatch.setattr(by_query, "ROWS", rows)
    monkeypatch.setattr(by_query, "LEAST", 1)
    qkv, whole = inputs(N, shared=reach % 2 == 0, values=True)
    heads = len(whole.vectors)
    keys, values = (torch.randn(heads, 2 * reach + 1, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    column = torch.arange(1 - N, N).clamp(-reach, reach) + reach
    found: list[list[Tensor]] = []
    for attend, known in ((by_query.attend, reach), (explicit, None)):
        out = attend(*qkv, ByQuery(whole.queries, keys[:, column], values[:, column], reach=known), positions, mask)
        slopes = torch.autograd.grad(
            (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum(),
            [*qkv, whole.queries, keys, values],
        )
        found.append([out, *slopes])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-11, rtol=1e-9)
