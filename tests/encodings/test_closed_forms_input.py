"""Encodings that enter at the embeddings, compared with formulas in numpy that are written independently."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import erf, softmax
from torch import nn

from posenc import encodings as pe
from posenc.encodings.lape import LayerAdaptivePositionalEncoding
from posenc.model.encoder import Encoder
from posenc.positions.positions import Positions
from posenc.positions.schemes import WithinNumber
from tests.encodings.proofs import FORMULA, proves
from tests.encodings.test_closed_forms import Layer, agree, all_cases, array, cases, linear, loud


def gelu(x: np.ndarray) -> np.ndarray:
    return x * (1 + erf(x / math.sqrt(2))) / 2


@proves(FORMULA, "continuous")
@all_cases
def test_continuous(H: int, positions: Positions) -> None:
    """x_p + MLP(p / period)."""
    layer = Layer(H, positions)
    encoding = loud(pe.ContinuousPositionalEncoding(layer.D, hidden=5, period=8.0))
    units = gelu(linear(encoding.inner, layer.p[..., None] / 8))
    expected = layer.x + linear(encoding.outer, gelu(linear(encoding.middle, units)))
    agree(encoding.embed(layer.inputs, positions), expected)


@proves(FORMULA, "fourier")
@all_cases
def test_fourier(H: int, positions: Positions) -> None:
    """x_p + W₂ GELU(W₁ [cos(p w), sin(p w)] / √F)."""
    layer = Layer(H, positions)
    encoding = loud(pe.LearnedFourierPositionalEncoding(layer.D, features=6, hidden=5))
    angles = layer.p[..., None] * array(encoding.frequencies)
    features = np.concatenate((np.cos(angles), np.sin(angles)), -1) / math.sqrt(6)
    agree(
        encoding.embed(layer.inputs, positions),
        layer.x + linear(encoding.outer, gelu(linear(encoding.inner, features))),
    )


def layer_norm(x: np.ndarray, norm: nn.LayerNorm) -> np.ndarray:
    """(x − mean) / √(variance + 1e-5) · gain + bias."""
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return scaled * array(norm.weight) + array(norm.bias)


@proves(FORMULA, "lape")
@cases
def test_lape_embeds(H: int, positions: Positions) -> None:
    """y + LN(table[p])."""
    layer = Layer(H, positions)
    encoding = loud(LayerAdaptivePositionalEncoding(layer.D, max_length=12))
    table = array(encoding.table)[layer.p.astype(int)]
    agree(encoding.embed(layer.inputs, positions), layer.x + layer_norm(table, encoding.norm))


@proves(FORMULA, "lape")
def test_lape_joins_what_attention_reads() -> None:
    """x ← x + Attn(LN(x) + LN_l(table)), x ← x + MLP(LN(x)); one table, a LN_l for each layer."""
    encoder: Any = Encoder(LayerAdaptivePositionalEncoding(8, 20), vocab_size=7, num_outputs=2, dim=8, num_heads=2)
    for parameter in encoder.double().parameters():
        nn.init.normal_(parameter, std=0.5)
    first, second = encoder.encodings
    assert first.table is second.table
    assert not torch.equal(first.norm.weight, second.norm.weight)
    tokens = torch.randint(7, (3, 9))
    x = array(encoder.tokens.weight)[tokens]
    for block, norm in zip(encoder.blocks, (first.norm, second.norm), strict=True):
        attention, (up, _, down) = block.branches
        read = layer_norm(x, block.norms[0]) + layer_norm(array(first.table)[:9], norm)
        q, k, v = np.split(linear(attention.qkv, read).reshape(3, 9, 6, 4).transpose(0, 2, 1, 3), 3, axis=1)
        mixed = softmax(q @ k.swapaxes(-1, -2) / 2, axis=-1) @ v
        x = x + linear(attention.out, mixed.transpose(0, 2, 1, 3).reshape(3, 9, 8))
        x = x + linear(down, gelu(linear(up, layer_norm(x, block.norms[1]))))
    agree(encoder.hidden(tokens), x)


def within_number(tokens: list[int], digits: list[int]) -> list[int]:
    """1, 2, ... in each run of digits, else 0."""
    ids, count = [], 0
    for token in tokens:
        count = count + 1 if token in digits else 0
        ids.append(count)
    return ids


@proves(FORMULA, "abacus")
@pytest.mark.parametrize("length", [1, 2, 9, 40])
@pytest.mark.parametrize("extra", [0, 1])
def test_abacus(length: int, extra: int) -> None:
    """x + table[id], where id is the index inside the number. In training every id > 0 is increased by one common k."""
    digits, tokens = [2, 3, 5, 7], torch.randint(9, (6, length))
    scheme = WithinNumber(digits, max_offset=4)
    ids = np.array([within_number(row, digits) + [0] * extra for row in tokens.tolist()])
    positions = scheme(tokens, training=False, extra=extra)
    agree(positions.ids, ids)
    encoding = loud(pe.LearnedAbsolutePositionalEncoding(8, max_length=64))
    x = torch.randn(6, length + extra, 8).double()
    agree(encoding.embed(x, positions), array(x) + array(encoding.table)[ids])
    for _ in range(20):
        drawn = scheme(tokens, training=True, extra=extra)
        assert any(np.array_equal(array(drawn.ids), ids + k * (ids > 0)) for k in range(5))
        assert drawn.ids.max() < drawn.span


@proves(FORMULA, "abacus")
def test_abacus_draws_offsets_evenly() -> None:
    """k ~ U{0, ..., 4}: in 2000 draws each value occurs 400 times, to within five standard deviations."""
    scheme, tokens = WithinNumber([1], max_offset=4), torch.tensor([[1]])
    drawn = [int(scheme(tokens, training=True).ids) - 1 for _ in range(2000)]
    counts = np.bincount(drawn, minlength=5)
    assert len(counts) == 5
    assert np.abs(counts - 400).max() < 5 * math.sqrt(2000 * 0.2 * 0.8)
