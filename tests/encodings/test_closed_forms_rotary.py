"""Later forms of RoPE, compared with their papers' formulas in numpy."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from posenc import encodings as pe
from posenc.checks import ConfigError
from posenc.encodings.base import PositionalEncoding
from posenc.positions.positions import Positions
from tests.encodings.proofs import FORMULA, proves
from tests.encodings.test_closed_forms import Layer, all_cases, cases, linear
from tests.encodings.test_closed_forms_rope import steady, turned

THETA = 10000.0 ** (-2 * np.arange(8) / 16)


@proves(FORMULA, "rope_clipped")
@pytest.mark.parametrize(("clipped", "n"), [(0.0, 0), (0.2, 1), (0.3125, 2), (0.5, 4), (1.0, 8)])
@cases
def test_clipped(H: int, positions: Positions, clipped: float, n: int) -> None:
    """The n lowest of 8 frequencies are multiplied by (1 + cos(π j/(n − 1))) / 2."""
    layer, rates = Layer(H, positions, d=16), THETA.copy()
    for j in range(n):
        rates[8 - n + j] *= (1 + math.cos(math.pi * j / max(n - 1, 1))) / 2
    turned(layer, pe.ClippedRotaryPositionalEncoding(layer.D, H, clipped), steady(layer, rates))


@proves(FORMULA, "rope_resonance", "rope_resonance_yarn")
@cases
def test_resonance(H: int, positions: Positions) -> None:
    """Wavelengths 2π √10^i are rounded to whole numbers: 6, 20, 63, 199, ...; YaRN is applied before rounding."""
    layer = Layer(H, positions, d=16)
    whole = np.array([6, 20, 63, 199, 628, 1987, 6283, 19869])
    turned(layer, pe.ResonanceRotaryPositionalEncoding(layer.D, H), steady(layer, 2 * math.pi / whole))
    low, high = 0, 8 * math.log(64 / (2 * math.pi)) / math.log(10000)  # 32 turns and 1 turn in 64 places
    slowed = np.clip((np.arange(8) - low) / math.ceil(high), 0, 1)
    wavelengths = np.round(2 * math.pi / (THETA * (1 - slowed + slowed / 4)))
    yarn = pe.ResonanceYarnRotaryPositionalEncoding(layer.D, H, 64)
    layer.q = layer.q * (0.1 * math.log(4) + 1) ** 2
    turned(layer, yarn, steady(layer, 2 * math.pi / wavelengths))


@proves(FORMULA, "rope_key_offset")
@pytest.mark.parametrize(("layout", "rotated", "kept"), [("interleaved", 1.0, 0.5), ("half_split", 0.5, 1.0)])
@cases
def test_key_offset(H: int, positions: Positions, layout: str, rotated: float, kept: float) -> None:
    """Components without rotation, here the last 8 of 16, have the key of the previous token, if there is one."""
    layer = Layer(H, positions, d=16)
    keys = layer.k.copy()
    for n in range(1, layer.N):
        keys[:, :, n, 8:] = layer.k[:, :, n - 1, 8:]
    layer.k = keys
    pairs = int(8 * rotated)
    theta = 10000.0 ** (-np.arange(pairs) / pairs)
    rates = np.where(np.arange(pairs) < int(kept * pairs), theta, 0)
    encoding = pe.KeyOffsetRotaryPositionalEncoding(layer.D, H, layout=layout, rotated=rotated, kept=kept)
    turned(layer, encoding, steady(layer, rates), layout == "half_split")


def test_key_offset_needs_a_key_that_stands() -> None:
    with pytest.raises(ConfigError, match=r"all turn; set kept=0\.5"):
        pe.KeyOffsetRotaryPositionalEncoding(16, 2, kept=1.0)


@proves(FORMULA, "fope")
@pytest.mark.parametrize(("L", "kept"), [(6, 0), (7, 1), (64, 3), (2000, 6)])
@cases
def test_fope(H: int, positions: Positions, L: int, kept: int) -> None:
    """Pairs are sums over frequencies with at least one turn in L, at most 6; other pairs are multiplied by 1 + i."""
    layer, encoding = Layer(H, positions, d=16), pe.FourierRotaryPositionalEncoding(16 * H, H, L).double()
    noise, pairs = encoding.noise.numpy(), min(kept, 4)
    fans = sum(torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(H, kept, pairs))) if kept else 1  # xavier's
    factor = np.ones((2, H, layer.N, 8)) + 1j
    for b, h, n, i in np.ndindex(2, H, layer.N, pairs):
        mixed = []
        for part, wave in enumerate((np.cos, np.sin)):
            column = noise[part, h, :kept, i] * 0.3 * math.sqrt(2 / fans)
            column[math.ceil(kept * i / pairs)] += 1
            mixed.append(column @ wave(layer.p[b, n] * THETA[:kept]) / max(0.1, column.sum()))
        factor[b, h, n, i] = mixed[0] + 1j * mixed[1]
    q, k = ((x[..., ::2] + 1j * x[..., 1::2]) * factor for x in (layer.q, layer.k))
    layer.has(encoding, lambda b, h, m, n: (q[b, h, m] @ k[b, h, n].conj()).real / 4)


@pytest.mark.parametrize(("gain", "largest"), [(0.0, 1.0), (0.3, 5.0), (1.0, 100.0)])
@pytest.mark.parametrize(("H", "d"), [(4, 64), (1, 4)])
def test_fope_is_bounded_however_many_frequencies_it_mixes(H: int, d: int, gain: float, largest: float) -> None:
    encoding = pe.FourierRotaryPositionalEncoding(d * H, H, 64, gain=gain)
    for kept in range(1, d // 2 + 1):
        assert encoding.coefficients(kept).abs().sum(-2).max() <= largest  # false for NaN


@proves(FORMULA, "rope_axial")
@pytest.mark.parametrize("layout", ["interleaved", "half_split"])
@all_cases
def test_axial(H: int, positions: Positions, layout: str) -> None:
    """Of 8 pairs four are rotated by ⌊p/3⌋ and four by p mod 3."""
    layer = Layer(H, positions, d=16)
    rows, columns = (layer.p[:, None, :, None] // 3) * THETA[::2], (layer.p[:, None, :, None] % 3) * THETA[::2]
    encoding = pe.AxialRotaryPositionalEncoding(layer.D, H, 3, layout=layout)
    turned(layer, encoding, np.concatenate((rows, columns), -1), layout == "half_split")


@proves(FORMULA, "rope_multimodal")
@pytest.mark.parametrize("rows", [None, 2])
@all_cases
def test_multimodal(H: int, positions: Positions, rows: int | None) -> None:
    """Of 8 pairs two are rotated by ⌊p/6⌋ (or by 0), three by the row of a frame and three by p mod 3."""
    layer = Layer(H, positions, d=16)
    p = layer.p[:, None, :, None]
    frame, row = (0 * p, p // 3) if rows is None else (p // 6, p // 3 % 2)
    places = np.concatenate((frame + np.zeros(2), row + np.zeros(3), p % 3 + np.zeros(3)), -1)
    turned(layer, pe.MultimodalRotaryPositionalEncoding(layer.D, H, 3, rows), places * THETA, half=True)


@pytest.mark.parametrize(
    ("sections", "why"),
    [
        ([2, 3, 4], r"sum is the 8 pairs of a head, got \[2, 3, 4\]; set sections=null"),
        (8, r"must be three numbers whose sum is the 8 pairs of a head, got \[8\]"),
        ("8", r"sections must be a whole number ≥ 0, got '8'"),
    ],
)
def test_sections_that_are_not_the_pairs_are_refused(sections: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        pe.MultimodalRotaryPositionalEncoding(16, 1, 3, sections=sections)


@proves(FORMULA, "rope_decoupled")
@all_cases
def test_decoupled(H: int, positions: Positions) -> None:
    """(q·k + Re(Σ_i a_i conj(b_i) e^{i θ_i (m − n)})) / √(d + r); a and b are linear in x, and all heads share b."""
    layer, encoding = Layer(H, positions), pe.DecoupledRotaryPositionalEncoding(8 * H, H, rotated=0.5).double()
    a = linear(encoding.queries, layer.x).reshape(2, layer.N, H, 4)
    b = linear(encoding.key, layer.x)
    theta = 10000.0 ** (-np.arange(2) / 2)

    def logit(s: int, h: int, m: int, n: int) -> float:
        one, other = a[s, m, h, ::2] + 1j * a[s, m, h, 1::2], b[s, n, ::2] + 1j * b[s, n, 1::2]
        turning = (one * other.conj() * np.exp(-1j * theta * layer.t(s, m, n))).real.sum()
        return (layer.q[s, h, m] @ layer.k[s, h, n] + turning) / math.sqrt(12)

    layer.has(encoding, logit)


Distance = Callable[[float, float], float]
"""(m, n) to the distance between which RoPE rotates, for a query at m and a key at n ≤ m."""


def rectified(m: float, n: float) -> float:
    return min(m - n, 3)


def leaky(m: float, n: float) -> float:
    return m - n if m - n < 3 else 3 + (m - n - 3) / 4


def self_extended(m: float, n: float) -> float:
    return m - n if m - n < 3 else m // 2 - n // 2 + 3 - 3 // 2


def dual_chunk(m: float, n: float) -> float:
    """Chunks have 3 places, and no query is placed beyond 4."""
    if m // 3 == n // 3:
        return m - n
    return (min(m % 3 + 3, 4) if m // 3 == n // 3 + 1 else 4) - n % 3


FAR: list[tuple[Callable[..., PositionalEncoding], dict[str, float], Distance]] = [
    (pe.RectifiedRotaryPositionalEncoding, {"window": 3}, rectified),
    (pe.RectifiedRotaryPositionalEncoding, {"window": 3, "slowed": 4.0}, leaky),
    (pe.SelfExtendRotaryPositionalEncoding, {"window": 3, "group": 2}, self_extended),
    (pe.DualChunkRotaryPositionalEncoding, {"reach": 4, "local": 1}, dual_chunk),
]


@proves(FORMULA, "rerope", "leaky_rerope", "self_extend", "dual_chunk")
@pytest.mark.parametrize(("build", "options", "distance"), FAR)
@pytest.mark.parametrize("rotated", [1.0, 0.5])
@all_cases
def test_far(
    H: int,
    positions: Positions,
    build: Callable[..., PositionalEncoding],
    options: dict[str, float],
    distance: Distance,
    rotated: float,
) -> None:
    """Σ_i Re(q_i conj(k_i) e^{i θ_i · distance}), plus q·k of the components that are not rotated."""
    layer = Layer(H, positions, d=16)
    r = int(16 * rotated)
    theta = 10000.0 ** (-2 * np.arange(r // 2) / r)
    q, k = (x[..., 0:r:2] + 1j * x[..., 1:r:2] for x in (layer.q, layer.k))

    def logit(b: int, h: int, m: int, n: int) -> float:
        turns = np.exp(1j * theta * distance(layer.p[b, m], layer.p[b, n]))
        still = layer.q[b, h, m, r:] @ layer.k[b, h, n, r:]
        return ((q[b, h, m] * k[b, h, n].conj() * turns).real.sum() + still) / 4

    layer.has(build(layer.D, H, True, rotated=rotated, **options), logit, causal=True)


@pytest.mark.parametrize("name", ["Rectified", "SelfExtend", "DualChunk"])
def test_far_is_rope_near_and_never_further_than_was_trained(name: str) -> None:
    """L = 16. Distances above the window change at length L already, and all stay below L up to length 2L."""
    encoding = getattr(pe, f"{name}RotaryPositionalEncoding")(8, 1, True, 16)
    x = torch.randn(1, 1, 40, 8, dtype=torch.float64)
    assert encoding.bias(x[0], x[..., :4, :], x[..., :4, :], Positions.arange(4)) is None
    p = torch.arange(32.0)[None]
    for region, at_query, at_key in encoding.regions(p, p):
        seen = region & torch.ones(32, 32, dtype=torch.bool).tril()
        apart = (at_query[:, :, None] - at_key[:, None])[seen]
        assert not len(apart) or 0 <= apart.min() <= apart.max() < 16
