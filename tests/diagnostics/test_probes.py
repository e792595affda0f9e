"""Probes find position where it is and nowhere else; attention similarity and rotated pairs agree with oracles."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch

from posenc.attention.layer import SelfAttention
from posenc.diagnostics import ProbeScore, head_similarity, layer_similarity, linear_probe, mlp_probe, uniform_distance
from posenc.diagnostics.probes import ridge_weights
from posenc.diagnostics.rotation import rotary_usage, turned_pairs
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.pope import PolarPositionalEncoding
from posenc.encodings.rope import RotaryPositionalEncoding
from posenc.encodings.transformer_xl import TransformerXLPositionalEncoding
from posenc.encodings.xpos import XPosPositionalEncoding
from posenc.positions.positions import Positions

F64 = torch.float64
N = 12


def one_hot(batch: int) -> torch.Tensor:
    """One-hot positions, joined with random content: (B, N, N + 6)."""
    places = torch.eye(N, dtype=F64).expand(batch, -1, -1)
    return torch.cat((places, torch.randn(batch, N, 6, dtype=F64)), dim=-1)


@pytest.mark.parametrize("probe", [linear_probe, partial(mlp_probe, steps=100)], ids=["linear", "mlp"])
def test_one_hot_places_are_read_without_a_mistake(probe: Callable[..., ProbeScore]) -> None:
    score = probe(one_hot(64), one_hot(64))
    assert (score.accuracy, score.distance) == (1, 0)
    assert score.selectivity == pytest.approx(1 - 1 / N, abs=0.05)  # four standard errors of the control


@pytest.mark.parametrize("probe", [linear_probe, partial(mlp_probe, steps=100)], ids=["linear", "mlp"])
def test_of_noise_a_probe_reads_what_guessing_does(probe: Callable[..., ProbeScore]) -> None:
    score = probe(torch.randn(64, N, 8), torch.randn(256, N, 8))
    error = (1 / N * (1 - 1 / N) / (256 * N)) ** 0.5
    assert score.accuracy == pytest.approx(1 / N, abs=4 * error)
    assert abs(score.selectivity) < 6 * error
    assert score.distance == pytest.approx(uniform_distance(N), rel=0.15)


def test_a_probe_is_scored_on_other_sequences_than_it_is_fitted_on() -> None:
    """If places are reversed in the scored sequences only, the probe reverses all its answers."""
    score = linear_probe(one_hot(16), one_hot(16).flip(1))
    assert score.accuracy == 0
    assert score.distance == pytest.approx(np.mean([abs(N - 1 - 2 * place) for place in range(N)]))
    own, other = torch.randn(24, N, 200), torch.randn(24, N, 200)  # no common code for places: learned by heart
    assert linear_probe(own, own).accuracy > 0.8
    assert linear_probe(own, other).accuracy < 0.2


def test_a_place_that_is_a_growing_number_takes_more_than_a_line() -> None:
    number = torch.linspace(-1, 1, 5)[:, None].expand(64, -1, 3) + 0.01 * torch.randn(64, 5, 3)
    assert linear_probe(number[:32], number[32:]).accuracy < 0.7
    assert mlp_probe(number[:32], number[32:], steps=100).accuracy > 0.95


def test_the_ridge_is_the_least_squares_solution_of_the_extended_system() -> None:
    x, places, ridge = torch.randn(60, 7, dtype=F64) + 3, torch.arange(60) % 5, 0.01
    weight, mean = ridge_weights(x, places, 5, ridge)
    centred = x.numpy() - x.numpy().mean(0)
    target = np.eye(5)[places.numpy()]
    penalty = ridge * np.trace(centred.T @ centred) / 7
    rows = np.concatenate((centred, np.sqrt(penalty) * np.eye(7)))
    expected, *_ = np.linalg.lstsq(rows, np.concatenate((target - target.mean(0), np.zeros((7, 5)))), rcond=None)
    np.testing.assert_allclose(weight.numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(mean.numpy(), x.numpy().mean(0), atol=1e-12)


def test_probes_leave_torchs_generator_and_gradients_alone() -> None:
    state = torch.random.get_rng_state()
    x = torch.randn(8, 4, 3, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert mlp_probe(x, x, steps=3) == mlp_probe(x, x, steps=3)
        assert linear_probe(x, x) == linear_probe(x, x)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert linear_probe(torch.ones(4, 3, 2), torch.ones(4, 3, 2)).accuracy == pytest.approx(1 / 3)


def test_similarity_of_heads_against_all_rows() -> None:
    weights = torch.randn(3, 4, 6, 6, dtype=F64).softmax(-1)
    rows = [torch.cosine_similarity(weights[:, 1, i], weights[:, 3, i]) for i in range(6)]
    alike = head_similarity(weights)
    torch.testing.assert_close(alike[1, 3], torch.stack(rows).mean())
    torch.testing.assert_close(alike, alike.T)
    torch.testing.assert_close(alike.diagonal(), torch.ones(4, dtype=F64))
    apart = torch.stack((torch.eye(6), torch.eye(6).roll(1, 0)))[None]
    assert head_similarity(apart)[0, 1] == 0


def test_similarity_of_layers_knows_no_order_of_heads() -> None:
    one, other = (torch.randn(3, 4, 6, 6, dtype=F64).softmax(-1) for _ in range(2))
    alike = layer_similarity([one, one.flip(1), other])
    assert alike.shape == (3, 3)
    assert alike[0, 1].item() == pytest.approx(1)
    assert alike[0, 2].item() < 0.99


@pytest.mark.parametrize(
    ("layout", "expected"),
    [("interleaved", [(0, 1), (2, 3), (4, 5), (6, 7)]), ("half_split", [(0, 4), (1, 5), (2, 6), (3, 7)])],
)
def test_pairs_and_rates_of_rotary(layout: str, expected: list[tuple[int, int]]) -> None:
    encoding = RotaryPositionalEncoding(16, 2, base=100, layout=layout)
    pairs, rates = turned_pairs(encoding, torch.randn(2, N, 16), 2, 8, Positions.arange(N))
    assert [tuple(pair) for pair in pairs.tolist()] == expected
    torch.testing.assert_close(rates, 100 ** (-torch.arange(4) / 4), atol=1e-5, rtol=1e-4)


def test_pairs_that_are_wider_than_the_head_are_found_and_shifts_are_none() -> None:
    x, positions = torch.randn(2, N, 16), Positions.arange(N)
    pairs, _ = turned_pairs(PolarPositionalEncoding(16, 2), x, 2, 8, positions)
    assert pairs.tolist() == [[c, c + 8] for c in range(8)]
    assert len(turned_pairs(XPosPositionalEncoding(16, 2), x, 2, 8, positions)[0]) == 4
    for encoding in (PositionalEncoding(), TransformerXLPositionalEncoding(16, 2)):
        assert rotary_usage(SelfAttention(16, 2), x, encoding, positions) is None


def test_usage_is_the_mean_size_of_queries_and_keys_and_the_rest_stands_still() -> None:
    encoding, layer, x = RotaryPositionalEncoding(16, 2, rotated=0.5), SelfAttention(16, 2), torch.randn(3, N, 16)
    found = rotary_usage(layer, x, encoding, Positions.arange(N))
    assert found is not None
    q, k, _ = (part.unflatten(-1, (2, 8)) for part in layer.qkv(x).chunk(3, -1))  # (B, N, H, d)
    for pair in range(2):
        chosen = slice(2 * pair, 2 * pair + 2)
        expected = q[..., chosen].norm(dim=-1).mean((0, 1)) * k[..., chosen].norm(dim=-1).mean((0, 1)) / 8**0.5
        torch.testing.assert_close(found.usage[:, pair], expected)
    still = q[..., 4:].norm(dim=-1).mean((0, 1)) * k[..., 4:].norm(dim=-1).mean((0, 1)) / 8**0.5
    torch.testing.assert_close(found.still, still)
