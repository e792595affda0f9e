"""Attention under a bias that is computed for some queries at a time, against the definition and its own size."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from posenc.analysis.encoding import bias_curve
from posenc.attention.bias import Bias, ByDistance, ByPairs
from posenc.attention.definition import explicit
from posenc.attention.kernels import by_pairs, flex
from posenc.attention.layer import SelfAttention
from posenc.attention.mask import Mask
from posenc.attention.record import record_attention
from posenc.encodings import FIREPositionalBias, fire
from posenc.positions.positions import Positions
from posenc.training.memory import saved_bytes
from tests.kernels import auto

H, C, THRESHOLD = 3, 8, 4.0


def encoding(dtype: torch.dtype = torch.float64, heads: int = H) -> FIREPositionalBias:
    """With a threshold that short sequences pass, and nothing at its starting value."""
    torch.manual_seed(0)
    made = FIREPositionalBias(heads, hidden=5, threshold=THRESHOLD).to(dtype)
    with torch.no_grad():
        made.threshold_factor.fill_(-0.9)
        made.c.fill_(-0.3)
    return made


def heads(N: int, B: int = 2, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = (torch.randn(B, H, N, C, dtype=dtype, requires_grad=True) for _ in range(3))
    return q, k, v


def shared(N: int) -> Positions:
    return Positions.arange(N)


def own(N: int) -> Positions:
    return Positions(torch.stack([torch.randperm(3 * N)[:N] for _ in range(2)]), span=3 * N, scale=0.5)


def pairs(layer: FIREPositionalBias, q: Tensor, positions: Positions, monkeypatch: pytest.MonkeyPatch) -> ByPairs:
    monkeypatch.setattr(fire, "LARGE", 0)
    bias = layer.bias(q, q, q, positions)
    assert isinstance(bias, ByPairs)
    return bias


def rows(layer: FIREPositionalBias, q: Tensor, positions: Positions, monkeypatch: pytest.MonkeyPatch) -> ByDistance:
    """The same bias as whole rows of distances: its definition."""
    monkeypatch.setattr(fire, "LARGE", float("inf"))
    bias = layer.bias(q, q, q, positions)
    assert isinstance(bias, ByDistance)
    return bias


def gradients(out: Tensor, *given: Any) -> list[Tensor]:
    return list(torch.autograd.grad((out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum(), list(given)))


@pytest.mark.parametrize("block", [700, 2**20])
@pytest.mark.parametrize("mask", [Mask(), Mask(True), Mask(False, 3), Mask(True, 2), Mask(True, 0)], ids=str)
@pytest.mark.parametrize("at", [shared, own])
@pytest.mark.parametrize("N", [5, 17])
def test_it_is_the_definition(N: int, at: Any, mask: Mask, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, qkv, positions = encoding(), heads(N), at(N)
    whole = rows(layer, qkv[0], positions, monkeypatch)
    bias = pairs(layer, qkv[0], positions, monkeypatch)
    monkeypatch.setattr("posenc.attention.bias.BLOCK", block)
    torch.testing.assert_close(bias.matrix(positions), whole.matrix(positions))
    ours, theirs = auto(*qkv, bias, positions, mask), explicit(*qkv, whole, positions, mask)
    torch.testing.assert_close(ours, theirs)
    given = (*qkv, *layer.parameters())
    for a, b in zip(gradients(ours, *given), gradients(theirs, *given), strict=True):
        torch.testing.assert_close(a, b)


def test_gradients_are_those_of_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a bias of one head for all, that a parameter does not reach in some blocks."""
    monkeypatch.setattr("posenc.attention.bias.BLOCK", 1)
    slope, late = torch.randn(2, 2, dtype=torch.float64)

    def logits(parameters: tuple[Tensor, ...], m: slice, n: slice) -> Tensor:
        a, b = parameters
        made = (torch.arange(m.start, m.stop)[:, None] - torch.arange(n.start, n.stop)).double().sin() * a.sum()
        return (made + b.prod() * made if m.stop > 2 else made)[None, None]

    def attend(q: Tensor, k: Tensor, v: Tensor, *parameters: Tensor) -> Tensor:
        return by_pairs.attend(q, k, v, ByPairs(logits, parameters, 1), Positions.arange(4), Mask(True))

    parts = [x.detach()[..., :2].requires_grad_() for x in (*heads(4), slope, late)]
    assert torch.autograd.gradcheck(attend, parts)


def test_a_long_sequence_keeps_nothing_of_n_by_n() -> None:
    """Memory of an ordinary run, without special options. The hidden units of each pair would be 32 numbers."""
    N, layer = 1024, FIREPositionalBias(H, threshold=16.0)
    qkv, positions = heads(N, 1, torch.float32), Positions.arange(N)
    kept = saved_bytes(layer, lambda: auto(*qkv, layer.bias(qkv[0], *qkv[:2], positions), positions, Mask(True)))
    assert kept < 6 * 4 * qkv[0].numel()  # q, k, v, the output, a sum for each query
    assert kept < 4 * N * N / 4


def test_few_distances_are_kept_as_rows() -> None:
    """If rows are small, the bias stays one of rows by distance, also above the threshold."""
    layer, x = encoding(torch.float32), torch.zeros(1, H, 300, C)
    assert isinstance(layer.bias(x, x, x, Positions.arange(300)), ByDistance)


def test_no_row_is_made_for_ids_that_lie_far_apart() -> None:
    """The ids have a long span, so the row of one query would have 2·span − 1 places for N keys."""
    positions = Positions(torch.tensor([[0, 70_000, 1_999_999]]), span=2_000_000)
    qkv, layer = heads(3, 1, torch.float32), FIREPositionalBias(H)
    kept = saved_bytes(layer, lambda: auto(*qkv, layer.bias(qkv[0], *qkv[:2], positions), positions, Mask()))
    assert kept < 10_000


@pytest.mark.parametrize("inner", [torch.float32, torch.bfloat16])
def test_autocast_and_narrow_inputs_end_in_the_same_gradients(
    inner: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, positions = encoding(torch.float32), Positions.arange(9)
    q, k, v = (x.detach().to(inner).requires_grad_() for x in heads(9))
    qkv = (q, k, v)
    given = (*qkv, *layer.parameters())
    plain = by_pairs.attend(*qkv, pairs(layer, qkv[0], positions, monkeypatch), positions, Mask())
    with torch.autocast("cpu", torch.bfloat16):
        cast = by_pairs.attend(*qkv, pairs(layer, qkv[0], positions, monkeypatch), positions, Mask())
    assert plain.dtype == cast.dtype == inner
    for a, b in zip(gradients(plain, *given), gradients(cast, *given), strict=True):
        assert torch.equal(a, b)


def test_a_layer_under_a_checkpoint_has_the_same_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fire, "LARGE", 0)
    layer, places, x = SelfAttention(H * C, H, True).double(), encoding(), torch.randn(2, 9, H * C).double()
    given = (x.requires_grad_(), *layer.parameters(), *places.parameters())
    plain = layer(x, places, Positions.arange(9))
    again = checkpoint(layer, x, places, Positions.arange(9), use_reentrant=False)
    assert isinstance(again, Tensor)
    for a, b in zip(gradients(plain, *given), gradients(again, *given), strict=True):
        assert torch.equal(a, b)


def test_what_would_be_wrong_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second derivative, and weights that changed between the passes."""
    layer, qkv, positions = encoding(), heads(9), Positions.arange(9)
    bias = pairs(layer, qkv[0], positions, monkeypatch)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(auto(*qkv, bias, positions, Mask()).sum(), qkv, create_graph=True)
    out = auto(*qkv, bias, positions, Mask())
    with torch.no_grad():
        layer.c.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


def test_parameters_of_a_call_are_those_of_its_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.func swaps a module's parameters for one call; the backward pass, after it, must not read the others."""
    layer, qkv, positions = encoding(), heads(9), Positions.arange(9)
    others = {name: (x.detach() * 1.5).requires_grad_() for name, x in layer.named_parameters()}
    changed = copy.deepcopy(layer)
    changed.load_state_dict(others)

    class Asked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self) -> Bias:
            return pairs(self.layer, qkv[0], positions, monkeypatch)

    bias = torch.func.functional_call(Asked(), {f"layer.{name}": x for name, x in others.items()}, ())
    ours = auto(*qkv, bias, positions, Mask())
    theirs = auto(*qkv, pairs(changed, qkv[0], positions, monkeypatch), positions, Mask())
    for a, b in zip(gradients(ours, *others.values()), gradients(theirs, *changed.parameters()), strict=True):
        assert torch.equal(a, b)


def test_every_other_reader_of_a_bias_reads_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """FlexAttention, and the curve that figures draw."""
    layer, positions = encoding(torch.float32), Positions.arange(9)
    bias = pairs(layer, torch.zeros(1, H, 9, C), positions, monkeypatch)
    places = (torch.tensor(0), torch.arange(H)[:, None, None], torch.arange(9)[:, None], torch.arange(9))
    torch.testing.assert_close(flex.score_mod(bias, positions)(torch.zeros(()), *places), bias.matrix(positions)[0])
    attention, x = SelfAttention(H * C, H), torch.randn(1, 9, H * C)
    curves = []
    for large in (0, 2**30):
        monkeypatch.setattr(fire, "LARGE", large)
        with record_attention(attention) as records:
            attention(x, layer, positions)
        curves.append(bias_curve(records[0], positions))
    assert isinstance(records[0].bias, ByDistance)
    assert torch.equal(curves[0].distances, curves[1].distances)
    torch.testing.assert_close(curves[0].logits, curves[1].logits)
