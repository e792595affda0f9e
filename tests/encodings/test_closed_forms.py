"""Biases that depend on position alone, compared with their papers' formulas in numpy; t = n − m, key minus query.

Encodings that enter at the embeddings are in `test_closed_forms_input`. Those that read tokens are in
`test_closed_forms_content`, and those that rotate queries and keys in `test_closed_forms_rope` and
`test_closed_forms_rotary`.
"""

import math
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from posenc import encodings as pe
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.rope import turn
from posenc.positions.positions import Positions
from tests.encodings.proofs import FORMULA, proves

Pair = Callable[[int, int, int, int], float]
"""A number for (sequence b, head h, query m, key n), all of them indices."""

Encoding = TypeVar("Encoding", bound=PositionalEncoding)

FLOAT32 = 1e-6
"""Tolerance for sines and cosines that are computed in float32 for every dtype of the model."""

GAPS = torch.tensor([[0, 3, 4, 7, 9]])
WHOLE = {
    "one": (1, Positions.arange(1)),
    "two": (2, Positions.arange(2)),
    "nine": (6, Positions.arange(9)),
    "shifted": (2, Positions.arange(9).shifted(3)),
    "gaps": (2, Positions(GAPS, span=12)),
    "gaps of each": (2, Positions(torch.cat((GAPS, torch.tensor([[1, 2, 5, 10, 11]]))), span=12)),
}
SCALED = {"scaled": (4, Positions(GAPS, span=12, scale=0.25))}
cases = pytest.mark.parametrize(("H", "positions"), WHOLE.values(), ids=WHOLE)
all_cases = pytest.mark.parametrize(("H", "positions"), (WHOLE | SCALED).values(), ids=WHOLE | SCALED)


def array(tensor: Tensor | None) -> np.ndarray:
    assert tensor is not None
    return tensor.detach().numpy()


def agree(actual: np.ndarray | Tensor, expected: np.ndarray, tolerance: float = 1e-10) -> None:
    """No two numbers differ by more than `tolerance`, or `tolerance` times the largest expected number."""
    actual = array(actual) if isinstance(actual, Tensor) else actual
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * max(1, np.abs(expected).max()))


def loud(encoding: Encoding) -> Encoding:
    """The encoding in float64, with every parameter drawn from N(0, 1)."""
    for parameter in encoding.double().parameters():
        nn.init.normal_(parameter)
    return encoding


class Layer:
    """Random x (B, N, D) and q, k, v (B, H, N, d) of an attention layer, with tokens at positions p (B, N)."""

    def __init__(self, H: int, positions: Positions, d: int = 8) -> None:
        B, N = 2, positions.length
        self.H, self.N, self.d, self.D, self.positions = H, N, d, H * d, positions
        self.inputs = torch.randn(B, N, H * d).double()
        self.heads = torch.randn(3, B, H, N, d).double()
        self.x, (self.q, self.k, self.v) = array(self.inputs), array(self.heads)
        self.p = np.broadcast_to(array(positions.ids) * positions.scale, (B, N))

    def t(self, b: int, m: int, n: int) -> float:
        return self.p[b, n] - self.p[b, m]

    def pairs(self, pair: Pair) -> np.ndarray:
        """`pair` of all pairs, (B, H, N, N), in plain loops."""
        H, N = range(self.H), range(self.N)
        return np.array([[[[pair(b, h, m, n) for n in N] for m in N] for h in H] for b in range(2)], dtype=float)

    def dots(self) -> np.ndarray:
        """q_m·k_n / √d."""
        return self.pairs(lambda b, h, m, n: self.q[b, h, m] @ self.k[b, h, n] / math.sqrt(self.d))

    def logits(self, encoding: PositionalEncoding) -> np.ndarray:
        """The logits of attention before the mask."""
        q, k = encoding.rotate(self.inputs, self.heads[0], self.heads[1], self.positions)
        logits = array(q @ k.mT) / math.sqrt(self.d)
        bias = encoding.bias(self.inputs, q, k, self.positions)
        return logits if bias is None else logits + array(bias.matrix(self.positions))

    def has(self, encoding: PositionalEncoding, logit: Pair, causal: bool = False, tolerance: float = 1e-10) -> None:
        """The logits are `logit`; if `causal`, only for keys that are not after the query."""
        seen = np.tril if causal else np.asarray
        agree(seen(self.logits(encoding)), seen(self.pairs(logit)), tolerance)

    def adds(self, encoding: PositionalEncoding, bias: Pair, causal: bool = False, tolerance: float = 1e-10) -> None:
        """The logits are q·k / √d plus `bias`."""
        dots = self.dots()
        self.has(encoding, lambda b, h, m, n: dots[b, h, m, n] + bias(b, h, m, n), causal, tolerance)


def linear(layer: nn.Linear, x: np.ndarray) -> np.ndarray:
    return x @ array(layer.weight).T + (0 if layer.bias is None else array(layer.bias))


@proves(FORMULA, "learned_relative")
@cases
def test_learned_relative(H: int, positions: Positions) -> None:
    """table[h, clip(t, −K, K) + K]."""
    layer, encoding = Layer(H, positions), loud(pe.LearnedRelativePositionalBias(H, max_distance=3))
    table = array(encoding.table)
    layer.adds(encoding, lambda b, h, m, n: table[h, int(min(max(layer.t(b, m, n), -3), 3)) + 3])


def alibi_slopes(H: int) -> list[float]:
    """2^(−8h/H), h = 1..H; for other H than powers of two, as in the authors' code."""
    if math.log2(H).is_integer():
        return [2 ** (-8 * h / H) for h in range(1, H + 1)]
    below = 2 ** int(math.log2(H))
    return alibi_slopes(below) + alibi_slopes(2 * below)[::2][: H - below]


@proves(FORMULA, "alibi_asymmetric")
@pytest.mark.parametrize("offset", [0.5, 0.25])
@all_cases
def test_alibi_asymmetric(H: int, positions: Positions, offset: float) -> None:
    """s_h · (−|t| + offset·[t < 0])."""
    layer, s = Layer(H, positions), alibi_slopes(H)

    def bias(b: int, h: int, m: int, n: int) -> float:
        t = layer.t(b, m, n)
        return s[h] * (-abs(t) + (offset if t < 0 else 0))

    layer.adds(pe.AsymmetricALiBi(H, offset).double(), bias)


@proves(FORMULA, "kerple_log", "kerple_power")
@all_cases
def test_kerple(H: int, positions: Positions) -> None:
    """−r1 · ln(1 + r2·|t|), r = exp(ρ); −r1 · |t|^r2, r1 = exp(ρ1), r2 = 2σ(ρ2)."""
    layer, log, power = Layer(H, positions), loud(pe.KerpleLogPositionalBias(H)), loud(pe.KerplePowerPositionalBias(H))
    r1, r2 = np.exp(array(log.raw))
    layer.adds(log, lambda b, h, m, n: -r1[h] * math.log(1 + r2[h] * abs(layer.t(b, m, n))))
    p1, p2 = np.exp(array(power.raw)[0]), 2 / (1 + np.exp(-array(power.raw)[1]))
    layer.adds(power, lambda b, h, m, n: -p1[h] * abs(layer.t(b, m, n)) ** p2[h])


@pytest.mark.parametrize("kind", [pe.KerpleLogPositionalBias, pe.KerplePowerPositionalBias])
def test_kerple_has_a_gradient_at_no_distance(kind: type) -> None:
    """At t = 0 the derivative d/dr |t|^r is finite: it is 0."""
    encoding, x = loud(kind(2)), torch.zeros(1, 2, 2, 4).double()
    bias = encoding.bias(x[0], x, x, Positions.arange(2))
    assert bias is not None
    bias.matrix(Positions.arange(2)).sum().backward()
    assert encoding.raw.grad is not None
    assert encoding.raw.grad.isfinite().all()


@proves(FORMULA, "sandwich")
@all_cases
def test_sandwich(H: int, positions: Positions) -> None:
    """H/(8h) · Σ_i cos(t·base^(−2i/D̄)), which equals H/(8h) · PE_m·PE_n for sinusoids PE of width D̄."""
    layer, encoding = Layer(H, positions), pe.SandwichPositionalBias(H, width=6, base=100.0).double()
    rates = 100 ** (-2 * np.arange(3) / 6)
    angles = layer.p[..., None] * rates
    table = np.concatenate((np.sin(angles), np.cos(angles)), -1)
    cosines = layer.pairs(lambda b, h, m, n: H / (8 * (h + 1)) * np.cos(layer.t(b, m, n) * rates).sum())
    agree(layer.pairs(lambda b, h, m, n: H / (8 * (h + 1)) * (table[b, m] @ table[b, n])), cosines)
    layer.adds(encoding, lambda b, h, m, n: cosines[b, h, m, n], tolerance=FLOAT32)


@proves(FORMULA, "fire")
@all_cases
def test_fire(H: int, positions: Positions) -> None:
    """MLP_h(ψ(|t|) / (ψ(max(m, |L|)) + 1e-6)), ψ(x) = ln(|c| x + 1), MLP with ReLU; some m are below L = 4·0.9."""
    layer, encoding = Layer(H, positions), loud(pe.FIREPositionalBias(H, hidden=5, threshold=4.0))
    nn.init.constant_(encoding.threshold_factor, -0.9)
    inner, _, outer = encoding.mlp
    assert isinstance(inner, nn.Linear)
    assert isinstance(outer, nn.Linear)

    def psi(x: float) -> float:
        return math.log(abs(encoding.c.item()) * x + 1)

    def bias(b: int, h: int, m: int, n: int) -> float:
        relative = psi(abs(layer.t(b, m, n))) / (psi(max(layer.p[b, m], 3.6)) + 1e-6)
        return linear(outer, np.maximum(linear(inner, np.array([relative])), 0))[h]

    layer.adds(encoding, bias)


@pytest.mark.parametrize("layout", ["interleaved", "half_split"])
def test_turning_does_not_ask_where_in_memory_the_pairs_lie(layout: str) -> None:
    x, angle = torch.randn(2, 3, 5, 8), torch.randn(5, 3)
    expected = turn(x[..., 1:].contiguous(), angle.cos(), angle.sin(), layout)
    torch.testing.assert_close(turn(x[..., 1:], angle.cos(), angle.sin(), layout), expected)
    shifted = torch.randn(2 * 3 * 5 * 8 + 1)[1:].view_as(x)
    torch.testing.assert_close(
        turn(shifted, angle.cos(), angle.sin(), layout), turn(shifted.clone(), angle.cos(), angle.sin(), layout)
    )


@pytest.mark.parametrize("N", [4, 12])
def test_fire_has_one_row_for_all_queries_before_its_threshold(N: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """L = 6: below it all rows are equal and one is computed; its gradients are those of all rows."""
    encoding, positions = loud(pe.FIREPositionalBias(2, hidden=5, threshold=6.0)), Positions.arange(N)
    nn.init.ones_(encoding.threshold_factor)
    x = torch.zeros(1, 2, N, 4).double()
    table = encoding.bias(x, x, x, positions).table
    assert table.shape == (1, 2, 1 if N < 6 else N, 2 * N - 1)
    monkeypatch.setattr(pe.FIREPositionalBias, "_all_within", lambda *_: False)
    every = encoding.bias(x, x, x, positions).table
    torch.testing.assert_close(table.expand_as(every), every)
    parameters = [*encoding.parameters()]
    weight = torch.randn(every.shape).double()
    one = torch.autograd.grad((table * weight).sum(), parameters)
    for a, b in zip(one, torch.autograd.grad((every * weight).sum(), parameters), strict=True):
        torch.testing.assert_close(a, b)
