"""RoPE, xPos and two scaled forms of RoPE, compared with their papers' formulas in numpy."""

import math

import numpy as np
import pytest

from posenc import encodings as pe
from posenc.encodings.base import PositionalEncoding
from posenc.positions.positions import Positions
from tests.encodings.proofs import FORMULA, proves
from tests.encodings.test_closed_forms import Layer, all_cases


def turned(layer: Layer, encoding: PositionalEncoding, phi: np.ndarray, half: bool = False, decay: float = 0) -> None:
    """Σ_i Re(q_i conj(k_i) e^{i(φ_m − φ_n)}) ζ_i^((m − n)·decay) over the first pairs, plus q·k of the rest."""
    pairs, r = phi.shape[-1], 2 * phi.shape[-1]
    phi = np.broadcast_to(phi, (2, layer.H, layer.N, pairs))
    first, second = (slice(pairs), slice(pairs, r)) if half else (slice(0, r, 2), slice(1, r, 2))
    q, k = (x[..., first] + 1j * x[..., second] for x in (layer.q, layer.k))
    zeta = (np.arange(pairs) / pairs + 0.4) / 1.4

    def logit(b: int, h: int, m: int, n: int) -> float:
        turns = np.exp(1j * (phi[b, h, m] - phi[b, h, n])) * zeta ** (-layer.t(b, m, n) * decay)
        turning, still = (q[b, h, m] * k[b, h, n].conj() * turns).real, layer.q[b, h, m, r:] @ layer.k[b, h, n, r:]
        return (turning.sum() + still) / math.sqrt(layer.d)

    layer.has(encoding, logit)


def steady(layer: Layer, rates: np.ndarray) -> np.ndarray:
    """φ_p = p θ, (B, 1, N, pairs)."""
    return layer.p[:, None, :, None] * rates


@proves(FORMULA, "rope", "rope_half", "rope_partial", "p_rope")
@pytest.mark.parametrize("kept", [1.0, 0.75, 0.7, 0.0])
@pytest.mark.parametrize("rotated", [1.0, 0.5])
@pytest.mark.parametrize("layout", ["interleaved", "half_split"])
@all_cases
def test_rope(H: int, positions: Positions, layout: str, rotated: float, kept: float) -> None:
    """θ_i = base^(−2i/r) for the first ⌊kept·r/2⌋ of the r/2 pairs, 0 for the others, r = rotated·d."""
    layer = Layer(H, positions, d=16)
    r = int(16 * rotated)
    rates = np.array([50 ** (-2 * i / r) if i < int(kept * r / 2) else 0.0 for i in range(r // 2)])
    encoding = pe.RotaryPositionalEncoding(layer.D, H, 50.0, layout, rotated, kept)
    turned(layer, encoding.double(), steady(layer, rates), layout == "half_split")


@proves(FORMULA, "xpos")
@pytest.mark.parametrize("scale", [4.0, 512.0])
@pytest.mark.parametrize("layout", ["interleaved", "half_split"])
@all_cases
def test_xpos(H: int, positions: Positions, layout: str, scale: float) -> None:
    """Pair i of RoPE times ζ_i^((m − n)/scale), ζ_i = (2i/d + 0.4) / 1.4."""
    layer = Layer(H, positions)
    encoding = pe.XPosPositionalEncoding(layer.D, H, scale=scale, layout=layout).double()
    theta = 10000 ** (-2 * np.arange(4) / 8)
    turned(layer, encoding, steady(layer, theta), layout == "half_split", 1 / scale)


@proves(FORMULA, "rope_llama3")
@pytest.mark.parametrize("L", [8, 64, 8192])
@all_cases
def test_rope_llama3(H: int, positions: Positions, L: int) -> None:
    """(γ + (1 − γ)/s) θ, γ = clip((L/λ − low) / (high − low), 0, 1), λ = 2π/θ."""
    layer, theta = Layer(H, positions, d=16), 10000 ** (-2 * np.arange(8) / 16)
    gamma = np.clip((L * theta / (2 * math.pi) - 1.5) / (5 - 1.5), 0, 1)
    encoding = pe.Llama3RotaryPositionalEncoding(layer.D, H, L, factor=6.0, low_turns=1.5, high_turns=5.0).double()
    turned(layer, encoding, steady(layer, (gamma + (1 - gamma) / 6) * theta))


@proves(FORMULA, "rope_yarn")
@pytest.mark.parametrize(("L", "fast", "slow"), [(4, 32, 1), (8, 32, 1), (64, 32, 1), (4096, 32, 1), (64, 3, 0.5)])
@pytest.mark.parametrize("d", [16, 64])
def test_rope_yarn(L: int, fast: float, slow: float, d: int) -> None:
    """θ (γ + (1 − γ)/s), γ falling from 1 at ⌊c(fast)⌋ to 0 at ⌈c(slow)⌉, and all logits times (0.1 ln s + 1)²."""

    def index(turns: float) -> float:
        return d * math.log(L / (2 * math.pi * turns)) / (2 * math.log(10000))

    low, high = (min(max(i, 0), d - 1) for i in (math.floor(index(fast)), math.ceil(index(slow))))
    pairs = np.arange(d // 2)
    gamma = 1 - np.clip((pairs - low) / max(high - low, 0.001), 0, 1)
    layer = Layer(2, Positions.arange(9), d)
    encoding = pe.YarnRotaryPositionalEncoding(2 * d, 2, L, factor=6.0, beta_fast=fast, beta_slow=slow).double()
    layer.q = layer.q * (0.1 * math.log(6) + 1) ** 2
    turned(layer, encoding, steady(layer, 10000.0 ** (-2 * pairs / d) * (gamma + (1 - gamma) / 6)))
