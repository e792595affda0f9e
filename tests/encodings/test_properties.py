"""Properties that follow from the formulas of the first eight encodings: invariances, closed forms, initial sizes."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from posenc.attention.bias import ByDistance
from posenc.checks import ConfigError
from posenc.config.build import build_module
from posenc.encodings import (
    CausalALiBi,
    ContinuousPositionalEncoding,
    LearnedAbsolutePositionalEncoding,
    LearnedRelativePositionalBias,
    PositionalEncoding,
    RotaryPositionalEncoding,
    SinusoidalPositionalEncoding,
    SymmetricALiBi,
    T5RelativePositionalBias,
)
from posenc.encodings.alibi import slopes
from posenc.encodings.scale import interpolate
from posenc.model.encoder import Encoder
from posenc.positions.positions import Positions

Build = Callable[..., Any]


def model(encoding: PositionalEncoding, **options: Any) -> Encoder:
    return Encoder(encoding, vocab_size=11, num_outputs=3, dim=16, num_heads=2, num_layers=3, **options).double()


def loud(encoding: PositionalEncoding) -> PositionalEncoding:
    """The encoding with random weights, because weights that start at 0 have no effect."""
    for parameter in encoding.parameters():
        nn.init.normal_(parameter)
    return encoding


def vectors(encoding: PositionalEncoding, positions: Positions, dim: int) -> Tensor:
    return encoding.embed(torch.zeros(1, positions.length, dim), positions)[0]


def profile(encoding: PositionalEncoding, length: int) -> Tensor:
    x = torch.zeros(1, encoding.num_heads, length, 8)  # pyright: ignore[reportArgumentType, reportCallIssue]
    bias = encoding.bias(x[0], x, x, Positions.arange(length))
    assert isinstance(bias, ByDistance)
    return bias.table[0, :, 0]


def test_no_encoding_is_a_bag_model() -> None:
    encoder, tokens = model(PositionalEncoding()), torch.randint(11, (4, 20))
    torch.testing.assert_close(encoder(tokens), encoder(tokens[:, torch.randperm(20)]), atol=1e-10, rtol=1e-10)


def test_no_encoding_under_a_causal_mask_sees_order() -> None:
    encoder, tokens = model(PositionalEncoding(), causal=True), torch.randint(11, (4, 20))
    assert (encoder(tokens) - encoder(tokens.flip(1))).abs().max() > 1e-3


def test_symmetric_alibi_is_blind_to_direction() -> None:
    """In float32 the answers to a sequence and to its mirror image agree to 1e-5."""
    encoder, tokens = model(SymmetricALiBi(2)).float(), torch.randint(11, (64, 32))
    torch.testing.assert_close(encoder(tokens), encoder(tokens.flip(1)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "encoding", [LearnedRelativePositionalBias(2), T5RelativePositionalBias(2, False), RotaryPositionalEncoding(16, 2)]
)
def test_the_others_are_not(encoding: PositionalEncoding) -> None:
    encoder, tokens = model(loud(encoding)), torch.randint(11, (4, 20))
    assert (encoder(tokens) - encoder(tokens.flip(1))).abs().max() > 1e-3


RELATIVE = [
    LearnedRelativePositionalBias(2),
    T5RelativePositionalBias(2, False),
    RotaryPositionalEncoding(16, 2),
    SymmetricALiBi(2),
]


@pytest.mark.parametrize("encoding", RELATIVE, ids=lambda e: type(e).__name__)
def test_relative_encodings_ignore_a_common_shift(encoding: PositionalEncoding) -> None:
    encoder, tokens = model(loud(encoding)), torch.randint(11, (4, 20))
    moved = Positions.arange(20).shifted(37)
    torch.testing.assert_close(encoder(tokens, moved), encoder(tokens), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("encoding", RELATIVE, ids=lambda e: type(e).__name__)
def test_relative_encodings_cannot_place_equal_tokens(encoding: PositionalEncoding) -> None:
    """On a constant sequence every row is the same (Luo et al. 2022)."""
    encoder = model(loud(encoding), readout="per_token")
    rows = encoder(torch.full((1, 20), 3))[0]
    torch.testing.assert_close(rows, rows[:1].expand(20, -1), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("encoding", [LearnedRelativePositionalBias(2), T5RelativePositionalBias(2, False)])
def test_learned_biases_start_as_no_encoding(encoding: PositionalEncoding) -> None:
    with_bias, without, tokens = model(encoding), model(PositionalEncoding()), torch.randint(11, (4, 20))
    without.load_state_dict({k: v for k, v in with_bias.state_dict().items() if not k.startswith("encodings")})
    torch.testing.assert_close(with_bias(tokens), without(tokens), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("base", [100.0, 10_000.0])
@pytest.mark.parametrize("dim", [2, 8, 64])
def test_sinusoidal_closed_form(dim: int, base: float) -> None:
    out = vectors(SinusoidalPositionalEncoding(dim, rms="raw", base=base), Positions.arange(50), dim).numpy()
    for p in (0, 1, 7, 49):
        for i in range(dim // 2):
            angle = p / base ** (2 * i / dim)
            np.testing.assert_allclose(out[p, 2 * i : 2 * i + 2], [math.sin(angle), math.cos(angle)], atol=1e-5)


@pytest.mark.parametrize("rms", [0.02, 1.0, 3.0])
def test_position_vectors_enter_as_loud_as_asked(rms: float) -> None:
    dim, positions = 64, Positions.arange(64)
    for encoding in (
        SinusoidalPositionalEncoding(dim, rms=rms),
        LearnedAbsolutePositionalEncoding(dim, 64, rms=rms),
        ContinuousPositionalEncoding(dim, period=64, rms=rms),
    ):
        assert vectors(encoding, positions, dim).pow(2).mean().sqrt().item() == pytest.approx(rms, rel=0.05)


@pytest.mark.parametrize("name", ["sinusoidal", "learned_absolute", "continuous", "fourier", "lape"])
def test_position_vectors_are_as_loud_in_a_model_as_asked(composed: Build, name: str) -> None:
    """In a model, an encoding keeps its own initial weights."""
    config = composed(f"encoding={name}", "model.token_rms=0.5")
    encoder = build_module(config, instantiate(config.dataset, _convert_="all")).encoder
    found = vectors(encoder.encoding(0), Positions.arange(64), 64)
    assert found.pow(2).mean().sqrt().item() == pytest.approx(0.5, rel=0.05)


def test_matched_by_default(composed: Build) -> None:
    config = composed("encoding=sinusoidal", "model.token_rms=0.5")
    assert config.encoding.rms == 0.5
    assert composed("encoding=learned_absolute", "encoding.rms=raw").encoding.rms == "raw"


def test_continuous_tells_neighbours_apart_from_the_start_and_its_raw_form_does_not() -> None:
    positions = Positions.arange(32)
    spread = {}
    for name, encoding in {
        "ours": ContinuousPositionalEncoding(64),
        "raw": ContinuousPositionalEncoding(64, period=512.0, rms="raw"),
    }.items():
        v = vectors(encoding, positions, 64)
        spread[name] = (v[1:] - v[:-1]).norm(dim=1).mean().item() / math.sqrt(64)
    assert spread["ours"] > 0.05
    assert spread["raw"] < 1e-4


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 300))
@settings(max_examples=30, deadline=None)
def test_rope_logit_depends_on_the_difference_only(m: int, n: int, shift: int) -> None:
    q, k = torch.randn(2, 1, 1, 2, 8, dtype=torch.float64).unbind()
    rope = RotaryPositionalEncoding(8, 1)

    def logit(a: int, b: int) -> Tensor:
        turned, other = rope.rotate(q, q, k, Positions(torch.tensor([[a, b]]), span=600))
        return turned[0, 0, 0] @ other[0, 0, 1]

    torch.testing.assert_close(logit(m, n), logit(m + shift, n + shift), atol=1e-10, rtol=1e-10)


def test_rope_turns_each_pair_by_its_angle() -> None:
    q = torch.randn(1, 1, 40, 6, dtype=torch.float64)
    turned, _ = RotaryPositionalEncoding(6, 1, base=50.0).rotate(q, q, q, Positions.arange(40))
    for i in range(3):
        before = torch.complex(q[..., 2 * i], q[..., 2 * i + 1])
        angle = torch.arange(40, dtype=torch.float64) * 50.0 ** (-2 * i / 6)
        after = before * torch.exp(1j * angle)
        torch.testing.assert_close(torch.complex(turned[..., 2 * i], turned[..., 2 * i + 1]), after)


@pytest.mark.parametrize("heads", [1, 2, 4, 8, 16])
def test_alibi_slopes(heads: int) -> None:
    expected = [2 ** (-8 * h / heads) for h in range(1, heads + 1)]
    torch.testing.assert_close(slopes(heads), torch.tensor(expected))


def test_alibi_slopes_of_twelve_heads_are_the_published_ones() -> None:
    expected = [2.0**-h for h in range(1, 9)] + [2.0 ** (-h / 2) for h in (1, 3, 5, 7)]
    torch.testing.assert_close(slopes(12), torch.tensor(expected))


def test_alibi_forms_agree_under_a_causal_mask() -> None:
    tokens = torch.randint(11, (3, 15))
    symmetric, causal = model(SymmetricALiBi(2), causal=True), model(CausalALiBi(2, True), causal=True)
    causal.load_state_dict(symmetric.state_dict())
    torch.testing.assert_close(causal(tokens), symmetric(tokens))


def published_t5_bucket(t: int, bidirectional: bool, buckets: int, furthest: int) -> int:
    """The published rule for one distance, with one `if` for each case."""
    offset = 0
    if bidirectional:
        buckets //= 2
        offset = buckets if t > 0 else 0
        r = abs(t)
    else:
        r = -t if t < 0 else 0
    exact = buckets // 2
    if r < exact:
        return offset + r
    share = np.float32(np.log(np.float32(r / exact))) / math.log(furthest / exact)
    return offset + min(buckets - 1, exact + int(share * (buckets - exact)))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("buckets", "furthest"), [(32, 128), (8, 20), (64, 1000)])
def test_t5_buckets(causal: bool, buckets: int, furthest: int) -> None:
    encoding = T5RelativePositionalBias(2, causal, buckets, furthest)
    t = torch.arange(-1100, 1101)
    found = encoding.bucket(t.float())
    assert found.tolist() == [published_t5_bucket(int(x), not causal, buckets, furthest) for x in t]
    assert found.min() == 0
    assert found.max() == buckets - 1


def test_learned_relative_reads_its_own_clipped_distance() -> None:
    encoding = LearnedRelativePositionalBias(2, max_distance=3)
    loud(encoding)
    table = profile(encoding, 6)  # distances −5 .. 5
    torch.testing.assert_close(table, encoding.table[:, [0, 0, 0, 1, 2, 3, 4, 5, 6, 6, 6]])


@given(st.integers(2, 9), st.integers(0, 8))
def test_interpolation_is_exact_on_rows(rows: int, row: int) -> None:
    table = torch.randn(rows, 4)
    at = torch.tensor([float(min(row, rows - 1))])
    assert torch.equal(interpolate(table, at)[0], table[int(at)])


def test_interpolation_is_linear_between_rows() -> None:
    table = torch.randn(3, 4)
    torch.testing.assert_close(interpolate(table, torch.tensor([1.25]))[0], 0.75 * table[1] + 0.25 * table[2])


def test_a_learned_table_refuses_positions_it_does_not_hold() -> None:
    encoding = LearnedAbsolutePositionalEncoding(8, 16)
    assert vectors(encoding, Positions.arange(16), 8).shape == (16, 8)
    with pytest.raises(ConfigError, match=r"holds 16 positions, got 17; raise encoding.max_length"):
        vectors(encoding, Positions.arange(17), 8)
