"""The measures of posenc.diagnostics agree with closed forms, oracles and known values."""

import math

import numpy as np
import pytest
import torch

from posenc.checks import ConfigError
from posenc.diagnostics import (
    attention_distance,
    attention_entropy,
    decay,
    dong_ratio,
    effective_rank,
    position_share,
    rollout,
    sink_rate,
    stable_rank,
    target_mass,
    toeplitzness,
    token_cosine,
    uniform_distance,
)

F64 = torch.float64


def uniform(N: int, causal: bool = False) -> torch.Tensor:
    logits = torch.zeros(1, 1, N, N, dtype=F64)
    return (logits.masked_fill(torch.ones(N, N).triu(1).bool(), float("-inf")) if causal else logits).softmax(-1)


def test_dong_ratio_is_0_for_one_vector_and_1_for_a_mean_of_zero() -> None:
    x = torch.randn(3, 7, 5, dtype=F64)
    assert dong_ratio(x[:, :1].expand(-1, 7, -1)).max() < 1e-15
    torch.testing.assert_close(dong_ratio(x - x.mean(1, keepdim=True)), torch.ones(3, dtype=F64))
    torch.testing.assert_close(dong_ratio(7.5 * x), dong_ratio(x))


def test_dong_ratio_by_hand() -> None:
    x = torch.tensor([[1.0, 0.0], [3.0, -2.0]], dtype=F64)  # mean (2, −1), residual ±(1, −1)
    assert dong_ratio(x).item() == pytest.approx(math.sqrt(2 * 2) / math.sqrt(4 * 5))


def test_token_cosine_against_all_pairs() -> None:
    x = torch.randn(2, 6, 4, dtype=F64)
    pairs = [torch.cosine_similarity(x[:, i], x[:, j]) for i in range(6) for j in range(6) if i != j]
    torch.testing.assert_close(token_cosine(x), torch.stack(pairs).mean(0))
    assert token_cosine(torch.ones(1, 6, 4)).item() == pytest.approx(1)
    assert token_cosine(torch.eye(4)[None]).item() == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("n", [1, 2, 9])
def test_ranks_of_the_identity_and_of_one_vector(n: int) -> None:
    eye = torch.eye(n, dtype=F64)
    assert effective_rank(eye).item() == pytest.approx(n)
    assert stable_rank(eye).item() == pytest.approx(n)
    outer = torch.outer(torch.arange(1.0, n + 1), torch.ones(4)).to(F64)
    assert effective_rank(outer).item() == pytest.approx(1, abs=1e-10)
    assert stable_rank(outer).item() == pytest.approx(1)


def test_stable_rank_is_at_most_the_effective_rank() -> None:
    x = torch.randn(50, 8, 5, dtype=F64)
    assert (stable_rank(x) <= effective_rank(x)).all()


@pytest.mark.parametrize("causal", [False, True])
def test_entropy_of_uniform_is_1_and_of_one_key_0(causal: bool) -> None:
    weights = uniform(9, causal)
    assert attention_entropy(weights, weights.log()).item() == pytest.approx(1)
    assert attention_entropy(torch.eye(9, dtype=F64)[None, None]).item() == 0


def test_entropy_of_two_keys_of_eight_is_a_third() -> None:
    weights = torch.zeros(1, 1, 8, 8, dtype=F64)
    weights[..., :2] = 0.5
    assert attention_entropy(weights).item() == pytest.approx(1 / 3)


@pytest.mark.parametrize(("causal", "expected"), [(False, 10.65625), (True, 7.75)])
def test_distance_of_uniform_attention(causal: bool, expected: float) -> None:
    assert attention_distance(uniform(32, causal)).item() == pytest.approx(expected)
    assert uniform_distance(32, causal) == pytest.approx(expected)


def test_target_mass_of_a_perfect_head_and_by_chance() -> None:
    target = torch.tensor([[2, 0, 1, -1]])
    perfect = torch.zeros(1, 1, 4, 4)
    for query, key in enumerate(target[0, :3]):
        perfect[0, 0, query, key] = 1
    assert target_mass(perfect, target).item() == 1
    assert target_mass(uniform(4), target).item() == pytest.approx(1 / 4)


def test_sinks() -> None:
    sink, even = torch.zeros(2, 1, 5, 5), uniform(5).float().expand(2, -1, -1, -1)
    sink[..., 0] = 1
    torch.testing.assert_close(sink_rate(torch.cat((sink, even), dim=1)), torch.tensor([1.0, 0.0]))


@pytest.mark.parametrize(
    ("skip", "expected"), [(0, (0.03, 0.13, 0.46, 0.92, 1.0)), (0.5, (0.016, 0.047, 0.155, 0.455, 0.87))]
)
def test_a_causal_mask_draws_all_to_the_first_token(skip: float, expected: tuple[float, ...]) -> None:
    """The share of the last query's attention rollout, at depths 1, 2, 4, 8, 16 and length 32 (Wu et al. 2025)."""
    mass = rollout([uniform(32, True)] * 16, skip)[:, 0, -1, 0]
    np.testing.assert_allclose(mass[[0, 1, 3, 7, 15]], expected, atol=0.006)
    torch.testing.assert_close(rollout([uniform(32, True)] * 3, skip).sum(-1), torch.ones(3, 1, 32, dtype=F64))


def test_toeplitzness_of_pure_bias_of_content_and_of_places() -> None:
    order = torch.arange(12)
    distance = order[None, :] - order[:, None]
    around = torch.randn(12, dtype=F64)[distance % 12]  # a circle: every row has the same mean
    assert toeplitzness(around.expand(4, 1, -1, -1))["relative"].item() == pytest.approx(1)
    slope = toeplitzness(-distance.abs().to(F64).expand(4, 1, -1, -1))
    assert slope["absolute"].item() == pytest.approx(1)
    assert 0.5 < slope["relative"].item() < 1  # rows near the ends have other means
    content = toeplitzness(torch.randn(64, 1, 12, 12, dtype=F64))
    assert content["absolute"].item() == pytest.approx(1 / 64, rel=0.3)
    assert content["relative"].item() < content["absolute"].item()
    places = toeplitzness(torch.randn(1, 1, 12, 12, dtype=F64).expand(4, -1, -1, -1))
    assert places["absolute"].item() == pytest.approx(1)
    assert places["relative"].item() < 0.4


def test_position_share_knows_position_token_and_sequence_apart() -> None:
    B, N, V, D = 128, 32, 20, 16
    tokens = torch.randint(V, (B, N))
    place, token = torch.randn(N, D, dtype=F64), torch.randn(V, D, dtype=F64)
    whole = torch.randn(B, 1, D, dtype=F64).expand(-1, N, -1)
    for x, name in (
        (place.expand(B, -1, -1), "position"), (token[tokens], "token"), (whole, "sequence"),
        (torch.randn(B, N, D, dtype=F64), "residual"),
    ):  # fmt: skip
        shares = position_share(x, tokens)
        assert sum(shares.values()) == pytest.approx(1)
        assert shares[name] == pytest.approx(1, abs=0.01), name


def test_position_share_of_a_sum_is_that_of_the_variances() -> None:
    tokens = torch.randint(20, (128, 32))
    x = 2 * torch.randn(32, 400, dtype=F64) + torch.randn(20, 400, dtype=F64)[tokens]
    shares = position_share(x, tokens)
    assert shares["position"] == pytest.approx(0.8, abs=0.03)
    assert shares["token"] == pytest.approx(0.2, abs=0.03)


def test_position_share_is_0_without_position_and_biased_if_not_corrected() -> None:
    """The mean over 20 draws is 0 to within its error; the naive share is (N − 1)/(BN)."""
    draws = [
        position_share(torch.randn(16, 32, 8, dtype=F64), torch.randint(20, (16, 32)))["position"] for _ in range(20)
    ]
    assert abs(np.mean(draws)) < 4 * np.std(draws) / math.sqrt(20)
    assert abs(np.mean(draws)) < 0.1 * 31 / (16 * 32)


@pytest.mark.parametrize(
    ("ratios", "kind", "order"),
    [
        ([0.9 ** (3.0**layer) for layer in range(8)], "double exponential", 3),
        ([0.8 * 0.5**layer for layer in range(17)], "single exponential", 1),
        ([0.5 + 0.1 * 0.5**layer for layer in range(17)], "none", 0.5),
    ],
)
def test_decay_is_named(ratios: list[float], kind: str, order: float) -> None:
    found = decay(ratios)
    assert found.kind == kind
    assert found.order == pytest.approx(order, abs=0.05)
    if kind == "double exponential":
        assert found.growth == pytest.approx(3, rel=1e-4)
        assert found.residual[kind] < 1e-6 < found.residual["single exponential"]
        assert found.layers == 6  # 0.9^(3^6) is below the floor
    if kind == "single exponential":
        assert found.factor == pytest.approx(0.5)


def test_decay_stops_at_the_floor_and_needs_three() -> None:
    with pytest.raises(ConfigError, match="2 ratios are above the floor 1e-13"):
        decay([1.0, 1e-5, 1e-20, 0.5])
