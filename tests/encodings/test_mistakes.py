"""A mistake in an encoding's arguments raises ConfigError with the value, the limit and the remedy."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from omegaconf import DictConfig

import posenc.encodings as enc
from posenc.checks import ConfigError
from posenc.config.make import make
from posenc.encodings import (
    CausalALiBi,
    ContinuousPositionalEncoding,
    LearnedAbsolutePositionalEncoding,
    LearnedRelativePositionalBias,
    RotaryPositionalEncoding,
    SinusoidalPositionalEncoding,
    SymmetricALiBi,
    T5RelativePositionalBias,
)
from posenc.positions.schemes import WithinNumber

BAD: list[tuple[Callable[[], Any], str]] = [
    (lambda: RotaryPositionalEncoding(12, 4), "the head width must be even, got 3"),
    (lambda: RotaryPositionalEncoding(16, 4, base=1.0), "base must be a number > 1"),
    (lambda: SinusoidalPositionalEncoding(7), "dim must be even, got 7"),
    (lambda: SinusoidalPositionalEncoding(8, rms="loud"), "rms must be a positive number or raw"),  # type: ignore
    (lambda: SinusoidalPositionalEncoding(8, rms=0.0), "rms must be a number > 0"),
    (lambda: LearnedAbsolutePositionalEncoding(8, 0), "max_length must be a whole number ≥ 1, got 0"),
    (lambda: LearnedRelativePositionalBias(2, -4), "max_distance must be a whole number ≥ 1, got -4"),
    (lambda: T5RelativePositionalBias(2, False, 30), "num_buckets must be a multiple of 4"),
    (lambda: T5RelativePositionalBias(2, True, 32, 16), "max_distance above 16"),
    (lambda: CausalALiBi(2, False), "set model.causal=true, or encoding=alibi"),
    (lambda: ContinuousPositionalEncoding(8, period=-1.0), "period must be a number > 0"),
    (lambda: RotaryPositionalEncoding(24, 4, rotated=0.5), "rotated=0.5 of the head width must be even, got 3"),
    (lambda: RotaryPositionalEncoding(16, 4, rotated=0.0), "rotated must be a number > 0 and ≤ 1, got 0.0"),
    (lambda: RotaryPositionalEncoding(16, 4, layout="both"), "layout=both is not one of interleaved, half_split"),
    (lambda: enc.LearnedRotaryPositionalEncoding(12, 4), "the head width must be even, got 3"),
    (
        lambda: enc.LinearlyScaledRotaryPositionalEncoding(16, 4, factor=0.5),
        "factor must be a number ≥ 1 and .*, got 0.5",
    ),
    (lambda: enc.NTKScaledRotaryPositionalEncoding(8, 4), "head width of at least 4, got 2"),
    (lambda: enc.DynamicNTKRotaryPositionalEncoding(16, 4, 0), "original_length must be a whole number ≥ 1, got 0"),
    (lambda: enc.YarnRotaryPositionalEncoding(16, 4, [8, 0]), "original_length must be a whole number ≥ 1, got 0"),
    (lambda: enc.YarnRotaryPositionalEncoding(16, 4, 8, beta_fast=0.5), "beta_fast must be a number > 1"),
    (lambda: enc.Llama3RotaryPositionalEncoding(16, 4, 8, low_turns=4.0), "high_turns must be a number > 4"),
    (lambda: enc.YarnRotaryPositionalEncoding(16, 4, 8, mscale=-1.0), "mscale must be a number > 0 .*, got -1.0"),
    (lambda: enc.YarnRotaryPositionalEncoding(16, 4, 8, mscale=1e300, mscale_all_dim=1e-300), "mscale must be .*≤ 1e"),
    (lambda: enc.YarnRotaryPositionalEncoding(16, 4, 8, attention_factor=1e200), "attention_factor must be .*≤ 1e"),
    (lambda: enc.YarnRotaryPositionalEncoding(16, 4, 8, mscale=1.0), "work together; set both, or neither"),
    (
        lambda: enc.YarnRotaryPositionalEncoding(16, 4, 8, attention_factor=1.0, mscale=1.0, mscale_all_dim=1.0),
        "make f; leave one",
    ),
    (
        lambda: enc.YarnRotaryPositionalEncoding(16, 4, 8, factor=float("inf")),
        "factor must be a finite number ≥ 1, got inf",
    ),
    (lambda: enc.Llama3RotaryPositionalEncoding(16, 4, 8, factor=float("nan")), "finite number ≥ 1, got nan"),
    (lambda: enc.FourierRotaryPositionalEncoding(16, 4, 8, gain=1e300), "gain must be a number ≥ 0 and ≤ 1"),
    (lambda: enc.YarnRotaryPositionalEncoding(24, 4, 8, rotated=0.5), "rotated=0.5 of the head width must be even"),
    (
        lambda: enc.LongRotaryPositionalEncoding(16, 4, long_factor=[1.0, 2.0, 3.0]),
        "long_factor must be a list of 2 numbers, one for each pair that turns",
    ),
    (lambda: enc.LongRotaryPositionalEncoding(16, 4, short_factor=[1.0, 0.0]), "short_factor must be a number > 0"),
    (lambda: enc.AxialRotaryPositionalEncoding(24, 4, 8), "must be a multiple of 4, got 6; set model.dim"),
    (lambda: enc.RectifiedRotaryPositionalEncoding(16, 4, False), "needs a causal mask; set model.causal=true"),
    (lambda: enc.SelfExtendRotaryPositionalEncoding(16, 4, True, group=0), "group must be a whole number ≥ 1, got 0"),
    (
        lambda: enc.DualChunkRotaryPositionalEncoding(16, 4, True, reach=4, local=4),
        "so reach must be at least 5, got 4",
    ),
    (
        lambda: enc.DualChunkRotaryPositionalEncoding(16, 4, True, local=6).trained_at(8),
        "reach must be at least 7, got 6 .*three quarters of the trained length, 8.*lower encoding.local",
    ),
    (lambda: enc.DualChunkRotaryPositionalEncoding(16, 4, True, 8, local=100), "must be at least 101, got 6"),
    (lambda: enc.DualChunkRotaryPositionalEncoding(16, 4, True, 64, reach=4), "must be at least 5, got 4; raise"),
    (lambda: enc.XPosPositionalEncoding(16, 4, scale=0.0), "scale must be a number > 0, got 0.0"),
    (lambda: enc.SelectiveRotaryPositionalEncoding(12, 4, True), "head_width must be even, got 3"),
    (lambda: enc.SelectiveRotaryPositionalEncoding(16, 4, False), "needs a causal mask; set model.causal=true"),
    (lambda: enc.ContextualPositionalEncoding(16, 4, False), "needs a causal mask; set model.causal=true"),
    (lambda: enc.ForgettingPositionalBias(16, 4, False), "needs a causal mask; set model.causal=true"),
    (lambda: enc.CABLEPositionalBias(16, 4, False), "needs a causal mask; set model.causal=true"),
    (lambda: enc.PaTHPositionalEncoding(16, 4, False), "needs a causal mask; set model.causal=true"),
    (lambda: enc.LearnedFourierPositionalEncoding(16, features=7), "features must be even, got 7"),
    (lambda: enc.SandwichPositionalBias(4, width=3), "width must be even, got 3"),
    (lambda: enc.ShawRelativePositionalEncoding(16, 4, max_distance=0), "max_distance must be a whole number ≥ 1"),
    (lambda: enc.DisentangledPositionalEncoding(16, 4, max_distance=-1), "max_distance must be a whole number ≥ 1"),
    (lambda: enc.DynamicPositionalBias(4, distance="cubic"), "distance=cubic is not one of linear, log"),
    (lambda: enc.FIREPositionalBias(4, threshold=0.0), "threshold must be a number > 0"),
    (lambda: enc.TransformerXLPositionalEncoding(15, 5), "dim must be even, got 15"),
    (lambda: enc.UntiedPositionalEncoding(16, 4, False, max_length=0), "max_length must be a whole number ≥ 1"),
    (lambda: enc.PolarPositionalEncoding(16, 4, base=0.5), "base must be a number > 1"),
    (lambda: enc.AsymmetricALiBi(4, offset=-0.5), "offset must be a number ≥ 0"),
    (lambda: SymmetricALiBi(0), "num_heads must be a whole number ≥ 1, got 0"),
    (lambda: WithinNumber([0, -3]), "digits must be a whole number ≥ 0, got -3"),
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_mistakes_name_value_limit_and_remedy(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


TYPED = [
    (
        "encoding=rope_yarn encoding.original_length=0",
        "YarnRotaryPositionalEncoding: encoding.original_length must be a whole number ≥ 1, got 0.",
    ),
    (
        "encoding=t5 encoding.max_distance=3",
        "T5RelativePositionalBias: encoding.num_buckets must be a multiple of 4 and encoding.max_distance above 8, got "
        "encoding.num_buckets=32, encoding.max_distance=3.",
    ),
    ("encoding=alibi model.num_heads=0", "SymmetricALiBi: model.num_heads must be a whole number ≥ 1, got 0."),
    ("encoding=alibi encoding.num_heads=0", "SymmetricALiBi: encoding.num_heads must be a whole number ≥ 1, got 0."),
    (
        "encoding=shaw encoding.max_distance=99999999999",
        "ShawRelativePositionalEncoding: a tensor of encoding.max_distance 99,999,999,999 by model.dim 64 is too "
        "large, at most 536,870,912 numbers are possible; lower encoding.max_distance.",
    ),
    (
        "encoding=rope@near-rope@far encoding.parts.far.base=0",
        "RotaryPositionalEncoding: encoding.parts.far.base must be a number > 1, got 0.",
    ),
    (
        "encoding=rope:none encoding.parts.rope.base=0",
        "RotaryPositionalEncoding: encoding.parts.rope.base must be a number > 1, got 0.",
    ),
    (
        "encoding=rope+sandwich:none encoding.parts.sandwich_or_none.parts.sandwich.width=7",
        "SandwichPositionalBias pairs sines with cosines: encoding.parts.sandwich_or_none.parts.sandwich.width must be "
        "even, got 7.",
    ),
    (
        "encoding=rope-none encoding.layers=[rope]",
        "ByLayers: no layer has the part none; add it to encoding.layers, or leave it out.",
    ),
]


@pytest.mark.parametrize(("words", "message"), TYPED, ids=[words for words, _ in TYPED])
def test_a_mistake_in_a_config_names_the_option_as_it_is_typed(
    composed: Callable[..., DictConfig], words: str, message: str
) -> None:
    with pytest.raises(ConfigError) as error:
        make(composed(*words.split()), "encoding")
    assert str(error.value) == message


def test_a_part_that_is_built_in_a_mixture_is_named() -> None:
    parts = {"a": partial(RotaryPositionalEncoding, dim=16, num_heads=4, base=0), "b": enc.PositionalEncoding()}
    with pytest.raises(ConfigError, match=r"^RotaryPositionalEncoding: parts\.a\.base must be a number > 1, got 0\.$"):
        enc.ByHeads(parts, 4, ["a", "b"])
