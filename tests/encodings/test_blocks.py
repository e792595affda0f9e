"""CoPE and DAPE, which compute in blocks and again in the backward pass, agree with their definitions."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from posenc.attention.kernels import blocks
from posenc.encodings import cope, dape

B, H, N = 2, 3, 13
Operands = tuple[Tensor, ...]


def leaf(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def check(blocked: Callable[..., Tensor], definition: Callable[..., Tensor], operands: Operands, asked: Tensor) -> None:
    """Outputs, and gradients, agree where `asked` is 1."""
    ours, theirs = blocked(*operands), definition(*operands)
    weight = asked * torch.randn_like(theirs)
    torch.testing.assert_close(ours * asked, theirs * asked, atol=1e-12, rtol=1e-10)
    one, other = (torch.autograd.grad((out * weight).sum(), operands) for out in (ours, theirs))
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, atol=1e-11, rtol=1e-9)


@pytest.mark.parametrize(("block", "rows"), [(1, 1), (1, 5), (60, 5), (200, 4), (2**20, 3), (2**20, 64)])
@pytest.mark.parametrize("most", [2, 4, 64])
def test_cope(block: int, rows: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cope, "BLOCK", block)
    monkeypatch.setattr(cope, "ROWS", rows)
    operands = (leaf(B * H, N, 4), leaf(B * H, N, 4), leaf(B * H, N, most), leaf(B * H, N, most))
    with torch.no_grad():
        operands[3][..., -1] = 0  # the last count has no next one
    seen = torch.ones(N, N, dtype=torch.float64).tril()

    def without_last(apply: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda q, k, at, to: apply(q, k, at, torch.cat((to[..., :-1], torch.zeros_like(to[..., -1:])), -1))

    check(without_last(cope.ContextualBias.apply), without_last(cope.definition), operands, seen)


@pytest.mark.parametrize("block", [1, 40, 150, 2**20])
@pytest.mark.parametrize("own_distances", [False, True])
def test_dape(block: int, own_distances: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dape, "BLOCK", block)
    static = leaf(B if own_distances else 1, H, N)
    operands = (leaf(B, H, N), static, leaf(5, 2 * H), leaf(5, 1), leaf(H, 5), leaf(H, 1))
    check(dape.Adapted.apply, dape.definition, operands, torch.ones(()))


def test_the_backward_pass_computes_what_the_forward_pass_did() -> None:
    """Also if the forward pass is under autocast."""
    operands = [
        x.detach().float().requires_grad_() for x in (leaf(6, N, 4), leaf(6, N, 4), leaf(6, N, 4), leaf(6, N, 4))
    ]
    exact = blocks.apply(cope.ContextualBias, cope.definition, *operands)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = blocks.apply(cope.ContextualBias, cope.definition, *operands)
    assert torch.equal(under, exact)
