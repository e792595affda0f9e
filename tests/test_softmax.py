"""Soft caps and sinks: by their formula, and in every kernel that knows them."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from posenc.attention.kernels import choose
from posenc.attention.kernels.choose import CAP, KERNELS, OPTIONS, SINKS
from posenc.attention.layer import SelfAttention
from posenc.attention.mask import Mask
from posenc.attention.record import record_attention
from posenc.attention.softmax import Softmax
from posenc.checks import ConfigError
from posenc.encodings.base import PositionalEncoding
from posenc.model.encoder import Encoder
from posenc.positions.positions import Positions
from tests.test_choose import KINDS, MASKS, B, D, H, make

N = 9
CASES = [*product((None, 0.7), (False, True))][1:]


def by_hand(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, mask: Mask, softmax: Softmax) -> Tensor:
    """Numerators and denominator written out."""
    logits = q @ k.mT / v.shape[-1] ** 0.5 + bias
    logits = logits if softmax.cap is None else softmax.cap * torch.tanh(logits / softmax.cap)
    allowed = mask.allowed(N)
    above = logits.exp() * (1 if allowed is None else allowed)
    below = above.sum(-1, keepdim=True)
    below = below if softmax.sinks is None else below + softmax.sinks.exp()[:, None, None]
    return above / below @ v


@pytest.mark.slow
@pytest.mark.parametrize(("cap", "sinks"), CASES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kernel_that_knows_them_gives_the_formula(kind: str, cap: float | None, sinks: bool) -> None:
    known = {*(SINKS if sinks else OPTIONS)} & {*(CAP if cap else OPTIONS)}
    positions, seen = Positions.arange(N), set[str]()
    for learned, mask in product((False, True), MASKS):
        bias, leaves = make(kind, N, learned)
        q, k, v = (torch.randn(B, H, N, D).bfloat16().float().requires_grad_() for _ in range(3))
        sink = torch.randn(H).bfloat16().float().requires_grad_() if sinks else None
        softmax, inputs = Softmax(cap, sink), [q, k, v, *leaves, *([] if sink is None else [sink])]
        if kind == "read, values":
            truth = KERNELS["explicit"](q, k, v, bias, positions, mask, softmax)
        else:
            truth = by_hand(q, k, v, torch.zeros(()) if bias is None else bias.matrix(positions), mask, softmax)
        probe = torch.linspace(-1, 1, v.numel()).view_as(v)
        slopes = torch.autograd.grad((truth * probe).sum(), inputs)
        slow = {"flex"} if learned or not mask.causal else set()  # neither chooses it
        for option, bfloat16 in product(known - slow, (False, True)):
            case = choose.case(q, v, bias, positions, mask, bfloat16, softmax)
            kernel = choose.choose(case, option)
            seen.add(kernel)
            given: Any = {"attention": option, "bfloat16": bfloat16, "softmax": softmax}
            with torch.set_grad_enabled(kernel != "flex"):  # torch has no backward pass of it on a CPU
                out = choose.attend(q, k, v, bias, positions, mask, **given)
            rounded = kernel.startswith("bfloat16")
            assert (out - truth).norm() <= (0.01 if rounded else 1e-5) * truth.norm(), kernel
            if kernel != "flex":
                for one, other in zip(torch.autograd.grad((out.float() * probe).sum(), inputs), slopes, strict=True):
                    assert (one - other).norm() <= (0.05 if rounded else 1e-4) * other.norm() + 1e-6, kernel
    assert "explicit" in seen
    assert ("sdpa" in seen) == (cap is None and kind != "read, values")
    assert ("flex" in seen) == (kind != "read, values")


def test_flex_refuses_to_train_a_sink_where_torch_cannot() -> None:
    q, sinks = torch.randn(B, H, N, D), torch.zeros(H, requires_grad=True)
    with pytest.raises(ConfigError, match=r"model\.attention=flex trains on CUDA GPUs only, but this run is on cpu"):
        KERNELS["flex"](q, q, q, None, Positions.arange(N), Mask(), Softmax(sinks=sinks))


def test_a_low_sink_and_a_high_cap_are_softmax_and_a_high_sink_takes_all() -> None:
    logits = torch.randn(B, H, N, N, dtype=torch.float64)
    low, high = torch.full((H,), -1e3), torch.full((H,), 1e3)
    torch.testing.assert_close(Softmax(sinks=low).weights(logits), logits.softmax(-1))
    torch.testing.assert_close(Softmax(1e5).capped(logits), logits)
    assert Softmax(0.5).capped(1e4 * logits).abs().max() == 0.5
    assert Softmax(sinks=high).weights(logits).max() == 0
    one = Softmax(sinks=torch.zeros(H)).weights(logits).sum(-1)
    torch.testing.assert_close(one, logits.exp().sum(-1) / (1 + logits.exp().sum(-1)))


def test_what_is_recorded_is_what_is_computed() -> None:
    given: Any = {"dim": 16, "num_heads": 2, "num_layers": 1, "sinks": True, "soft_cap": 0.3}
    model = Encoder(PositionalEncoding(), 11, 3, **given)
    tokens = torch.randint(11, (3, N))
    with torch.no_grad(), record_attention(model) as records:
        recorded = model(tokens)
    torch.testing.assert_close(model(tokens), recorded)
    assert records[0].logits.abs().max() <= 0.3
    assert records[0].weights.sum(-1).max() < 1


@pytest.mark.parametrize("attention", OPTIONS)
def test_what_an_implementation_does_not_know_is_refused(attention: str) -> None:
    cases: Any = ((SINKS, {"sinks": True}, "sinks=true"), (CAP, {"soft_cap": 5.0}, "soft_cap"))
    for known, given, word in cases:
        if attention in known:
            SelfAttention(16, 4, attention=attention, **given)
            continue
        with pytest.raises(ConfigError, match=f"model.attention={attention} does not support model.{word}; set"):
            SelfAttention(16, 4, attention=attention, **given)
