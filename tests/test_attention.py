"""All implementations of attend agree with the definition, forward and backward."""

import math
from dataclasses import fields

import pytest
import torch
from torch import Tensor, nn

from posenc.attention.bias import Bias, ByDistance, ByQuery, Dense
from posenc.attention.kernels import choose
from posenc.attention.layer import SelfAttention
from posenc.attention.mask import Mask
from posenc.attention.record import record_attention
from posenc.checks import ConfigError
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.learned_relative import LearnedRelativePositionalBias
from posenc.positions.positions import Positions
from tests.encodings.proofs import proves
from tests.kernels import IMPLEMENTATIONS

MASKS = {"none": Mask(), "causal": Mask(causal=True), "window": Mask(window=2), "both": Mask(True, 1)}


@torch.no_grad()
def by_hand(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, causal: bool, window: int | None) -> Tensor:
    """Softmax attention in plain loops over batch, head and query."""
    out = torch.empty(*q.shape[:-1], v.shape[-1], dtype=v.dtype)
    for b in range(q.shape[0]):
        for h in range(q.shape[1]):
            for m in range(q.shape[2]):
                keys = [n for n in range(k.shape[2]) if (not causal or n <= m)]
                keys = [n for n in keys if window is None or abs(n - m) <= window]
                logits = [float(q[b, h, m] @ k[b, h, n]) / math.sqrt(v.shape[-1]) for n in keys]
                if bias is not None:
                    logits = [x + float(bias[b % len(bias), h % bias.shape[1], m, n]) for x, n in zip(logits, keys)]  # noqa: B905
                top = max(logits)
                weights = [math.exp(x - top) for x in logits]
                out[b, h, m] = sum(w * v[b, h, n] for w, n in zip(weights, keys)) / sum(weights)  # noqa: B905
    return out


def make_bias(kind: str, N: int, device: str = "cpu", dtype: torch.dtype = torch.float64) -> Bias | None:
    tables = {"by distance": (1, 3, 1), "by query": (2, 3, N), "dense": (2, 1, N)}
    if kind == "none":
        return None
    made = {"dtype": dtype, "device": device, "requires_grad": True}
    if kind == "read":
        return ByQuery(torch.randn(2, 3, N, 4, **made), torch.randn(3, 2 * N - 1, 4, **made))
    b, h, n = tables[kind]
    if kind == "dense":
        return Dense(torch.randn(b, h, N, N, **made))
    return ByDistance(torch.randn(b, h, n, 2 * N - 1, **made))


def leaf(bias: Bias | None) -> list[Tensor]:
    """What a gradient is asked of."""
    parts = [] if bias is None else [getattr(bias, field.name) for field in fields(bias)]
    return [part for part in parts if part is not None]


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("kind", ["none", "by distance", "by query", "read", "dense"])
@pytest.mark.parametrize("N", [1, 7])
def test_implementations_agree_with_the_definition(kind: str, mask: str, N: int) -> None:
    q, k, v = (torch.randn(2, 3, N, 4, dtype=torch.float64, requires_grad=True) for _ in range(3))
    bias, positions = make_bias(kind, N), Positions.arange(N)
    matrix = None if bias is None else bias.matrix(positions)
    truth = by_hand(q, k, v, matrix, MASKS[mask].causal, MASKS[mask].window)
    probe = torch.randn_like(truth)
    gradients = []
    for name, attend in IMPLEMENTATIONS.items():
        if name == "flex" and N == 1 and mask != "none":  # it takes longer than all others
            continue
        if name == "flex":  # torch has no backward pass for it on a CPU
            with torch.no_grad():
                torch.testing.assert_close(attend(q, k, v, bias, positions, MASKS[mask]), truth, atol=1e-6, rtol=1e-5)
            continue
        out = attend(q, k, v, bias, positions, MASKS[mask])
        torch.testing.assert_close(out, truth, atol=1e-12, rtol=1e-10)
        gradients.append(torch.autograd.grad((out * probe).sum(), [q, k, v, *leaf(bias)]))
    for other in gradients[1:]:
        for a, b in zip(gradients[0], other, strict=True):
            torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-9)


@proves("torch", "none")
@pytest.mark.parametrize("attention", IMPLEMENTATIONS)
@pytest.mark.parametrize("causal", [False, True])
def test_parity_with_torch_multihead_attention(attention: str, causal: bool) -> None:
    ours, theirs = SelfAttention(16, 4, causal, None, attention), nn.MultiheadAttention(16, 4, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.qkv.weight)
        theirs.out_proj.weight.copy_(ours.out.weight)
        theirs.in_proj_bias.zero_()
        theirs.out_proj.bias.zero_()
    x = torch.randn(3, 9, 16)
    hidden = None if not causal else torch.ones(9, 9, dtype=torch.bool).triu(1)
    expected, _ = theirs(x, x, x, attn_mask=hidden)
    with torch.set_grad_enabled(attention != "flex"):
        out = ours(x, PositionalEncoding(), Positions.arange(9))
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)


def test_flex_says_where_it_cannot_train() -> None:
    layer, x = SelfAttention(16, 4, attention="flex"), torch.randn(2, 5, 16)
    for ask in (
        lambda: layer(x, PositionalEncoding(), Positions.arange(5)),
        lambda: choose.check_training(layer.attention, x.device),
    ):
        with pytest.raises(ConfigError, match=r"flex trains on CUDA GPUs only, but this run is on cpu.*attention=auto"):
            ask()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch trains flex on CUDA GPUs only")
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("kind", ["none", "by distance", "by query", "read", "dense"])
def test_flex_agrees_backward_on_cuda(kind: str, mask: str) -> None:
    N, positions = 200, Positions.arange(200, "cuda")
    q, k, v = (torch.randn(2, 3, N, 16, device="cuda", requires_grad=True) for _ in range(3))
    bias = make_bias(kind, N, device="cuda", dtype=torch.float32)
    outs = [IMPLEMENTATIONS[name](q, k, v, bias, positions, MASKS[mask]) for name in ("explicit", "flex")]
    probe = torch.randn_like(outs[0])
    torch.testing.assert_close(outs[0], outs[1], atol=1e-3, rtol=1e-3)
    one, other = (torch.autograd.grad((out * probe).sum(), [q, k, v, *leaf(bias)]) for out in outs)
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, atol=2e-3 * float(a.abs().max()), rtol=1e-2)


def test_recording_changes_nothing_and_ends() -> None:
    layer, encoding = SelfAttention(16, 4), LearnedRelativePositionalBias(4, 3)
    nn.init.normal_(encoding.table)
    x, positions = torch.randn(2, 5, 16), Positions.arange(5)
    before, path = layer(x, encoding, positions), layer.instead
    with record_attention(layer) as records:
        torch.testing.assert_close(layer(x, encoding, positions), before, atol=1e-6, rtol=1e-5)
    assert layer.instead is path
    layer(x, encoding, positions)
    assert len(records) == 1
    torch.testing.assert_close(records[0].weights.sum(-1), torch.ones(2, 4, 5))
    assert isinstance(records[0].bias, ByDistance)


def test_a_layer_alone_is_converted_as_any_module_of_torch() -> None:
    layer = SelfAttention(16, 4).bfloat16()
    encoding = LearnedRelativePositionalBias(num_heads=4, max_distance=8).bfloat16()
    x, positions = torch.randn(2, 9, 16, dtype=torch.bfloat16), Positions.arange(9)
    assert layer(x, encoding, positions).dtype == torch.bfloat16


def test_bad_sizes_are_named() -> None:
    with pytest.raises(ConfigError, match=r"dim 10 does not split into 4 heads.*such as 8"):
        SelfAttention(10, 4)
    with pytest.raises(ConfigError, match="attention=flash is not one of auto, explicit, flex, fused, sdpa, toeplitz"):
        SelfAttention(16, 4, attention="flash")
