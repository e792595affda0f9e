"""Encodings that read queries, keys or tokens, compared with their papers' formulas in numpy."""

import math

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from torch import nn

from posenc import encodings as pe
from posenc.attention.kernels.blocks import skew
from posenc.attention.mask import Mask
from posenc.positions.positions import Positions
from tests.encodings.proofs import FORMULA, proves
from tests.encodings.test_closed_forms import FLOAT32, Layer, agree, all_cases, array, cases, linear, loud
from tests.encodings.test_closed_forms_input import layer_norm
from tests.encodings.test_closed_forms_rope import turned
from tests.kernels import IMPLEMENTATIONS


@pytest.mark.parametrize("N", [1, 2, 9])
def test_skew(N: int) -> None:
    """out[m, n] = table[m, n − m + N − 1]."""
    table = torch.randn(2, 3, N, 2 * N - 1)
    out = skew(table)
    assert out.shape == (2, 3, N, N)
    for m, n in np.ndindex(N, N):
        assert torch.equal(out[..., m, n], table[..., m, n - m + N - 1])


@pytest.mark.slow
@proves(FORMULA, "shaw", "shaw_keys", "music_transformer")
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("attention", IMPLEMENTATIONS)
@pytest.mark.parametrize(("values", "per_head"), [(True, False), (False, False), (False, True), (True, True)])
@cases
def test_shaw(H: int, positions: Positions, values: bool, per_head: bool, attention: str, causal: bool) -> None:
    """Σ_n softmax(q_m·(k_n + a^K[t]) / √d)_n (v_n + a^V[t]), t clipped; Music Transformer: a^K of each head, no a^V."""
    layer, K = Layer(H, positions), 3
    encoding = loud(pe.ShawRelativePositionalEncoding(layer.D, H, K, values=values, per_head=per_head))
    G = H if per_head else 1
    aK = array(encoding.keys_table).reshape(G, 2 * K + 1, layer.d)
    aV = array(encoding.values_table).reshape(aK.shape) if values else np.zeros_like(aK)

    def relative(table: np.ndarray, b: int, h: int, m: int, n: int) -> np.ndarray:
        return table[h % G, int(np.clip(layer.t(b, m, n), -K, K)) + K]

    layer.has(encoding, lambda b, h, m, n: layer.q[b, h, m] @ (layer.k[b, h, n] + relative(aK, b, h, m, n)) / 8**0.5)
    expected, logits = np.zeros_like(layer.v), layer.logits(encoding)
    for b, h, m in np.ndindex(expected.shape[:3]):
        seen = m + 1 if causal else layer.N
        weights = softmax(logits[b, h, m, :seen])
        for n in range(seen):
            expected[b, h, m] += weights[n] * (layer.v[b, h, n] + relative(aV, b, h, m, n))
    q, k, v = layer.heads
    with torch.set_grad_enabled(attention != "flex"):
        bias = encoding.bias(layer.inputs, q, k, positions)
        agree(IMPLEMENTATIONS[attention](q, k, v, bias, positions, Mask(causal)), expected)


def t5_bucket(t: int, causal: bool) -> int:
    """The bucket of t, of 32 buckets up to distance 128; if not causal, each side has half of them."""
    side, start = (32, 0) if causal else (16, 16 if t > 0 else 0)
    r, exact = (max(-t, 0) if causal else abs(t)), side // 2
    if r < exact:
        return start + r
    return start + min(exact + int(math.log(r / exact) / math.log(128 / exact) * (side - exact)), side - 1)


@proves(FORMULA, "tupe")
@pytest.mark.parametrize("causal", [False, True])
@cases
def test_tupe(H: int, positions: Positions, causal: bool) -> None:
    """[q_m·k_n + (LN(p_m) U_Q)·(LN(p_n) U_K)] / √(2d) + b(t)."""
    layer = Layer(H, positions)
    encoding = loud(pe.UntiedPositionalEncoding(layer.D, H, causal, max_length=12))
    p = layer_norm(array(encoding.table), encoding.norm)
    pq, pk = (linear(u, p).reshape(12, H, layer.d) for u in (encoding.to_query, encoding.to_key))
    table = array(encoding.relative.table)

    def logit(b: int, h: int, m: int, n: int) -> float:
        i, j = int(layer.p[b, m]), int(layer.p[b, n])
        dots = layer.q[b, h, m] @ layer.k[b, h, n] + pq[i, h] @ pk[j, h]
        return dots / math.sqrt(2 * layer.d) + table[h, t5_bucket(j - i, causal)]

    layer.has(encoding, logit)


@proves(FORMULA, "dape")
@all_cases
def test_dape(H: int, positions: Positions) -> None:
    """S + B + f([S; B]), B = −r1 ln(1 + r2 |t|), f of two layers with LeakyReLU(0.01), at each pair."""
    layer, encoding = Layer(H, positions), loud(pe.DAPEPositionalBias(H, hidden=5))
    r1, r2 = np.exp(array(encoding.static.raw))
    S = layer.dots()
    B = layer.pairs(lambda b, h, m, n: -r1[h] * math.log(1 + r2[h] * abs(layer.t(b, m, n))))

    def logit(b: int, h: int, m: int, n: int) -> float:
        units = linear(encoding.inner, np.concatenate((S[b, :, m, n], B[b, :, m, n])))
        return S[b, h, m, n] + B[b, h, m, n] + linear(encoding.outer, np.where(units > 0, units, 0.01 * units))[h]

    layer.has(encoding, logit)


@proves(FORMULA, "forgetting", "cable")
@pytest.mark.parametrize("kind", [pe.ForgettingPositionalBias, pe.CABLEPositionalBias])
@cases
def test_forgetting_and_cable(H: int, positions: Positions, kind: type[pe.ForgettingPositionalBias]) -> None:
    """Σ_{s=n+1..m} ln σ(w_h·x_s + b_h), and −Σ_{s=n+1..m} softplus(w_h·x_s + b_h)."""
    layer = Layer(H, positions)
    encoding = loud(kind(layer.D, H, causal=True))
    gate = linear(encoding.gate, layer.x)
    term = -np.logaddexp(0, gate) if kind is pe.CABLEPositionalBias else np.log(expit(gate))
    layer.adds(encoding, lambda b, h, m, n: sum(term[b, s, h] for s in range(n + 1, m + 1)), causal=True)


@proves(FORMULA, "cope")
@pytest.mark.parametrize("max_count", [2, 3, 64])
@cases
def test_cope(H: int, positions: Positions, max_count: int) -> None:
    """q_m·e between ⌊p⌋ and ⌈p⌉, p = min(Σ_{s=n..m} σ(q_m·k_s / √d), max_count − 1)."""
    layer = Layer(H, positions)
    encoding = loud(pe.ContextualPositionalEncoding(layer.D, H, causal=True, max_count=max_count))
    e, gates = array(encoding.table), expit(layer.dots())

    def bias(b: int, h: int, m: int, n: int) -> float:
        p = min(sum(gates[b, h, m, s] for s in range(n, m + 1)), max_count - 1)
        share = p - math.floor(p)
        return layer.q[b, h, m] @ (e[math.floor(p)] * (1 - share) + e[math.ceil(p)] * share)

    layer.adds(encoding, bias, causal=True)


def causal_convolution(x: np.ndarray, layer: nn.Conv1d) -> np.ndarray:
    """y_p = Σ_j kernel_j ⊙ x_{p − width + 1 + j} along axis 1, each channel by itself, zeros before the start."""
    kernel = array(layer.weight)[:, 0].T
    padded = np.pad(x, ((0, 0), (len(kernel) - 1, 0), (0, 0)))
    return np.stack([(padded[:, p : p + len(kernel)] * kernel).sum(1) for p in range(x.shape[1])], axis=1)


@proves(FORMULA, "path")
@pytest.mark.parametrize("chunk", [1, 3, 32])
@cases
def test_path(H: int, positions: Positions, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """q_mᵀ H_m ⋯ H_{n+1} k_n / √d, H_s = I − β_s w_s w_sᵀ; w = unit(SiLU(conv(W₂ W₁ x))), β = 2σ(u·x + c)."""
    monkeypatch.setattr("posenc.encodings.path.REFLECTIONS", chunk)
    layer = Layer(H, positions)
    encoding = loud(pe.PaTHPositionalEncoding(layer.D, H, causal=True, rank=3))
    mixed = causal_convolution(linear(encoding.up, linear(encoding.down, layer.x)), encoding.convolution)
    heads = (mixed * expit(mixed)).reshape(2, layer.N, H, layer.d).transpose(0, 2, 1, 3)
    w = heads / np.linalg.norm(heads, axis=-1, keepdims=True)
    beta = 2 * expit(linear(encoding.beta, layer.x)).transpose(0, 2, 1)
    found = encoding.reflections(layer.inputs, positions)
    for actual, expected in zip(found, (w, beta[..., None]), strict=True):
        agree(actual, expected)

    def logit(b: int, h: int, m: int, n: int) -> float:
        row = layer.q[b, h, m]
        for s in range(m, n, -1):
            row = row @ (np.eye(layer.d) - beta[b, h, s] * np.outer(w[b, h, s], w[b, h, s]))
        return row @ layer.k[b, h, n] / math.sqrt(layer.d)

    layer.has(encoding, logit, causal=True)


@proves(FORMULA, "transformer_xl")
@all_cases
def test_transformer_xl(H: int, positions: Positions) -> None:
    """[(q_m + u)·k_n + (q_m + v)·W R(m − n)] / √d, R(s) = [sin(s ω), cos(s ω)], ω_i = base^(−2i/D)."""
    layer = Layer(H, positions)
    encoding = loud(pe.TransformerXLPositionalEncoding(layer.D, H, base=50.0))
    weight, u, v = map(array, (encoding.weight, encoding.u, encoding.v))
    rates = 50.0 ** (-2 * np.arange(layer.D // 2) / layer.D)

    def logit(b: int, h: int, m: int, n: int) -> float:
        angles = -layer.t(b, m, n) * rates
        read = (weight @ np.concatenate((np.sin(angles), np.cos(angles)))).reshape(H, layer.d)[h]
        q = layer.q[b, h, m]
        return ((q + u[h]) @ layer.k[b, h, n] + (q + v[h]) @ read) / math.sqrt(layer.d)

    layer.has(encoding, logit, tolerance=FLOAT32)


@proves(FORMULA, "deberta")
@cases
def test_deberta(H: int, positions: Positions) -> None:
    """[q_m·k_n + q_m·K_r[δ] + k_n·Q_r[δ]] / √(3d), δ = clip(m − n + K, 0, 2K − 1)."""
    layer, K = Layer(H, positions), 3
    encoding = loud(pe.DisentangledPositionalEncoding(layer.D, H, max_distance=K))
    table = array(encoding.table)
    Kr, Qr = (linear(f, table).reshape(2 * K, H, layer.d) for f in (encoding.to_key, encoding.to_query))

    def logit(b: int, h: int, m: int, n: int) -> float:
        delta = int(min(max(-layer.t(b, m, n) + K, 0), 2 * K - 1))
        q, k = layer.q[b, h, m], layer.k[b, h, n]
        return (q @ k + q @ Kr[delta, h] + k @ Qr[delta, h]) / math.sqrt(3 * layer.d)

    layer.has(encoding, logit)


@proves(FORMULA, "pope")
@all_cases
def test_pope(H: int, positions: Positions) -> None:
    """Σ_c softplus(q_c) softplus(k_c) cos((n − m) θ_c + δ_c) / √d, θ_c = base^(−c/d), δ kept in [−2π, 0]."""
    layer = Layer(H, positions)
    encoding = loud(pe.PolarPositionalEncoding(layer.D, H, base=50.0))
    nn.init.normal_(encoding.phase, -math.pi, 4)
    phase = np.clip(array(encoding.phase), -2 * math.pi, 0)
    rates = 50.0 ** (-np.arange(layer.d) / layer.d)
    q, k = np.logaddexp(0, layer.q) / math.sqrt(layer.d), np.logaddexp(0, layer.k)
    layer.has(encoding, lambda b, h, m, n: q[b, h, m] * k[b, h, n] @ np.cos(layer.t(b, m, n) * rates + phase[h]))


@proves(FORMULA, "selective_rope")
@cases
def test_selective_rope(H: int, positions: Positions) -> None:
    """Half-split pairs turned by τ_i Σ_{s≤p} conv(W₂ W₁ x̂)_s, τ_i = base^(−2i/d), x̂ of length 1 in each head."""
    layer = Layer(H, positions)
    encoding = loud(pe.SelectiveRotaryPositionalEncoding(layer.D, H, causal=True, rank=3, base=50.0))
    chunks = layer.x.reshape(2, layer.N, H, layer.d)
    unit = (chunks / np.linalg.norm(chunks, axis=-1, keepdims=True)).reshape(layer.x.shape)
    steps = causal_convolution(linear(encoding.up, linear(encoding.down, unit)), encoding.convolution)
    angles = steps.cumsum(1).reshape(2, layer.N, H, 4) * 50.0 ** (-2 * np.arange(4) / 8)
    turned(layer, encoding, angles.transpose(0, 2, 1, 3), half=True)
