"""GRAPE compared with its paper (https://arxiv.org/abs/2512.07805): each group element is a `matrix_exp`."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from posenc import encodings as pe
from posenc.checks import ConfigError
from posenc.positions.positions import Positions
from tests.encodings.proofs import FORMULA, proves
from tests.encodings.test_closed_forms import Layer, agree, alibi_slopes, all_cases, array, cases, linear, loud


def exp(generator: np.ndarray) -> np.ndarray:
    return array(torch.linalg.matrix_exp(torch.from_numpy(generator)))


def planes(encoding: pe.MultiplicativeGroupEncoding, h: int, d: int) -> np.ndarray:
    """The matrix of head h with the columns a_1, b_1, a_2, ..."""
    assert encoding.skew is not None
    skew = np.zeros((d, d))
    skew[np.triu_indices(d, 1)] = array(encoding.skew)[h]
    return exp(skew - skew.T)


@proves(FORMULA, "grape_m")
@pytest.mark.parametrize("learned_planes", [True, False])
@all_cases
def test_multiplicative(H: int, positions: Positions, learned_planes: bool) -> None:
    """(exp(p_m L) q_m)·(exp(p_n L) k_n) / √d, L = Σ_i θ_i (b_i a_iᵀ − a_i b_iᵀ)."""
    layer = Layer(H, positions)
    encoding = loud(pe.MultiplicativeGroupEncoding(layer.D, H, learned_planes=learned_planes, slowed=2.0))
    generators = []
    for h in range(H):
        B = planes(encoding, h, 8) if learned_planes else np.eye(8)
        theta = np.exp(array(encoding.log_theta) / 2)
        a, b = B[:, ::2], B[:, 1::2]
        generators.append((b * theta) @ a.T - (a * theta) @ b.T)

    def logit(s: int, h: int, m: int, n: int) -> float:
        q, k = (exp(layer.p[s, at] * generators[h]) @ y[s, h, at] for at, y in ((m, layer.q), (n, layer.k)))
        return float(q @ k) / math.sqrt(8)

    layer.has(encoding, logit, tolerance=1e-9)


def test_rodrigues_closed_form_is_the_exponential_of_one_plane() -> None:
    """I + sin(s)/s L + (1 − cos s)/s² L², s = √(|a|²|b|² − (a·b)²): grape_m with one frequency of four not 0."""
    encoding = loud(pe.MultiplicativeGroupEncoding(8, 1))
    with torch.no_grad():
        encoding.log_theta.copy_(torch.tensor([0.0, -torch.inf, -torch.inf, -torch.inf]))
    B = planes(encoding, 0, 8)
    L = np.outer(B[:, 1], B[:, 0]) - np.outer(B[:, 0], B[:, 1])
    q, k, x = torch.randn(3, 1, 1, 6, 8).double()
    turned = encoding.rotate(x, q, k, Positions.arange(6))
    for m in range(6):
        s = float(m)  # |a| = |b| = 1, a·b = 0, so pL has s = p
        G = np.eye(8) + math.sin(s) * L + (1 - math.cos(s)) * L @ L
        agree(turned[0][0, 0, m], B.T @ G @ array(q)[0, 0, m])


@torch.no_grad()
def test_multiplicative_keeps_lengths_and_is_relative() -> None:
    encoding = loud(pe.MultiplicativeGroupEncoding(16, 2, slowed=2.0))
    q, k, x = torch.randn(3, 2, 2, 9, 8).double()
    logits = []
    for shift in (0, 37):
        one, other = encoding.rotate(x, q, k, Positions.arange(9).shifted(shift))
        for after, before in ((one, q), (other, k)):
            torch.testing.assert_close(after.norm(dim=-1), before.norm(dim=-1))
        logits.append(one @ other.mT)
    assert (logits[0] - q @ k.mT).abs().max() > 0.1
    torch.testing.assert_close(logits[0], logits[1])


@pytest.mark.parametrize("learned_planes", [True, False])
def test_multiplicative_starts_as_rope(learned_planes: bool) -> None:
    """The planes start as coordinate planes, and the frequencies as those of RoPE."""
    grape = pe.MultiplicativeGroupEncoding(16, 2, 500.0, learned_planes).double()
    rope = pe.RotaryPositionalEncoding(16, 2, 500.0).double()
    q, k, x = torch.randn(3, 2, 2, 40, 8).double()
    ours, theirs = (each.rotate(x, q, k, Positions.arange(40)) for each in (grape, rope))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def lifted(slope: float, t: float) -> np.ndarray:
    """exp(t A)⁻ᵀ of A = −slope e_{d+2} e_{d+1}ᵀ, which is 0 when squared."""
    A = np.zeros((10, 10))
    A[9, 8] = -slope
    assert not (A @ A).any()
    return np.linalg.inv(exp(t * A)).T


@proves(FORMULA, "grape_a")
@pytest.mark.parametrize("gates", ["query_key", "query", "key"])
@all_cases
def test_additive(H: int, positions: Positions, gates: str) -> None:
    """q̂ᵀ exp(t A)⁻ᵀ k̂ of [q / √d, 1, 0] and [k, 0, 1], t = −|n − m|."""
    layer = Layer(H, positions)
    encoding = loud(pe.AdditiveGroupEncoding(layer.D, H, gates))
    omega = np.logaddexp(0, array(encoding.w)) * alibi_slopes(H)
    u, v = (None if y is None else array(y) for y in (encoding.u, encoding.v))
    assert (v is None, u is None) == ("query" not in gates, "key" not in gates)

    def gate(directions: np.ndarray | None, h: int, y: np.ndarray) -> float:
        if directions is None:
            return 0.0
        return float(np.logaddexp(0, directions[h] @ y / np.linalg.norm(directions[h]) / math.sqrt(8)))

    def logit(s: int, h: int, m: int, n: int) -> float:
        q, k = layer.q[s, h, m], layer.k[s, h, n]
        slope = omega[h] * (gate(v, h, q) + gate(u, h, k))
        q, k = np.array([*q / math.sqrt(8), 1, 0]), np.array([*k, 0, 1])
        return float(q @ lifted(slope, -abs(layer.t(s, m, n))) @ k)

    layer.has(encoding, logit, tolerance=1e-6)  # slopes are float32's


@pytest.mark.parametrize("H", [2, 6])
@torch.no_grad()
def test_additive_without_content_is_alibi(H: int) -> None:
    """With v = u = 0 both gates are ln 2, so ω = 1 / (2 ln 2) gives ALiBi's slopes."""
    encoding, alibi = pe.AdditiveGroupEncoding(8 * H, H).double(), pe.SymmetricALiBi(H)
    for each in (encoding.u, encoding.v):
        assert each is not None
        each.zero_()
    encoding.w.fill_(math.log(math.expm1(1 / (2 * math.log(2)))))
    q, k = torch.randn(2, 2, H, 9, 8).double()
    x, positions = torch.zeros(2, 9, 8 * H).double(), Positions.arange(9).shifted(3)
    ours, theirs = (each.bias(x, q, k, positions) for each in (encoding, alibi))
    assert ours is not None
    assert theirs is not None
    torch.testing.assert_close(ours.matrix(positions), theirs.matrix(positions).double().expand(2, -1, -1, -1))


def path(steps: np.ndarray) -> float:
    """The bias of the product of all I − ψ E: the only nonzero element of its inverse transpose off the diagonal."""
    E = np.zeros((10, 10))
    E[9, 8] = 1
    product = np.eye(10)
    for psi in steps:
        product = exp(-psi * E) @ product
    return float(np.linalg.inv(product).T[8, 9])


@proves(FORMULA, "grape_ap")
@all_cases
def test_path_integral(H: int, positions: Positions) -> None:
    """ψ(m, l) = s_h ln σ(a_m·R^{p_l} â_l / r), R = exp(J) of J with blocks (0, −1; 1, 0)."""
    layer, r = Layer(H, positions), 4
    encoding = loud(pe.PathIntegralGroupEncoding(layer.D, H, True, r))
    a = linear(encoding.project, layer.x).reshape(2, layer.N, H, r)
    unit = a / np.sqrt((a**2).mean(-1, keepdims=True) + 1e-6)
    J = np.kron(np.eye(r // 2), np.array([[0.0, -1], [1, 0]]))

    def bias(s: int, h: int, m: int, n: int) -> float:
        alike = [a[s, m, h] @ exp(layer.p[s, at] * J) @ unit[s, at, h] / r for at in range(n + 1, m + 1)]
        return path(-np.logaddexp(0, -np.array(alike)) * alibi_slopes(H)[h])

    layer.adds(encoding, bias, causal=True, tolerance=1e-6)  # slopes are float32's


@torch.no_grad()
def test_path_integral_without_content_is_alibi() -> None:
    """With P = 0 each step subtracts s_h ln 2."""
    encoding, alibi, positions = pe.PathIntegralGroupEncoding(32, 4, True), pe.SymmetricALiBi(4), Positions.arange(20)
    encoding.project.weight.zero_()
    x, q = torch.randn(2, 20, 32), torch.randn(2, 4, 20, 8)
    ours, theirs = (each.bias(x, q, q, positions) for each in (encoding, alibi))
    assert ours is not None
    assert theirs is not None
    expected = (math.log(2) * theirs.matrix(positions)).expand(2, -1, -1, -1)
    torch.testing.assert_close(ours.matrix(positions).tril(), expected.tril(), atol=1e-5, rtol=1e-5)


@cases
def test_forgetting_is_a_path_of_steps_that_no_query_sets(H: int, positions: Positions) -> None:
    """Appendix C of the paper: ψ = ln σ(w·x + b) in the same product."""
    layer = Layer(H, positions)
    encoding = loud(pe.ForgettingPositionalBias(layer.D, H, True))
    steps = -np.logaddexp(0, -linear(encoding.gate, layer.x))
    layer.adds(encoding, lambda s, h, m, n: path(steps[s, n + 1 : m + 1, h]), causal=True)


@pytest.mark.parametrize(
    "encoding",
    [
        pe.MultiplicativeGroupEncoding(8, 2, slowed=2.0),
        pe.AdditiveGroupEncoding(8, 2),
        pe.PathIntegralGroupEncoding(8, 2, True, 4),
    ],
    ids=["m", "a", "ap"],
)
def test_gradients_are_those_of_differences(encoding: pe.PositionalEncoding) -> None:
    encoding, positions = loud(encoding), Positions.arange(5)
    names = [name for name, _ in encoding.named_parameters()]

    def logits(x: Tensor, q: Tensor, k: Tensor, *values: Tensor) -> Tensor:
        def run(x: Tensor, q: Tensor, k: Tensor) -> Tensor:
            q, k = encoding.rotate(x, q, k, positions)
            bias = encoding.bias(x, q, k, positions)
            return q @ k.mT if bias is None else q @ k.mT + bias.matrix(positions)

        class Bound(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.encoding = encoding

            def forward(self, x: Tensor, q: Tensor, k: Tensor) -> Tensor:
                return run(x, q, k)

        held = {f"encoding.{name}": value for name, value in zip(names, values, strict=True)}
        out = torch.func.functional_call(Bound(), held, (x, q, k))
        assert isinstance(out, Tensor)
        return out

    given = [torch.randn(1, 5, 8), *torch.randn(2, 1, 2, 5, 4), *(value.detach() for value in encoding.parameters())]
    assert gradcheck(logits, [value.double().requires_grad_() for value in given], fast_mode=True)


def test_a_width_that_makes_no_pairs_is_refused() -> None:
    with pytest.raises(ConfigError, match="turns pairs: width must be even, got 3"):
        pe.PathIntegralGroupEncoding(8, 2, True, 3)
