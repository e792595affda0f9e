"""Position schemes: their laws, and each of them under each encoding."""

import pytest
import torch
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st

from posenc.checks import ConfigError
from posenc.model.encoder import Encoder
from posenc.positions.schemes import (
    PositionScheme,
    RandomizedPositions,
    ScaledPositions,
    ShiftedPositions,
    WithinNumber,
)
from tests.conftest import options

ENCODINGS, SCHEMES = options("encoding"), options("positions")


@pytest.fixture(scope="module")
def schemes() -> dict[str, PositionScheme]:
    return {
        "contiguous": PositionScheme(),
        "randomized": RandomizedPositions(),
        "shifted": ShiftedPositions(),
        "scaled": ScaledPositions(16),
        "within_number": WithinNumber(range(10)),
    }


def test_every_scheme_of_the_configs_is_tried(composed, schemes: dict[str, PositionScheme]) -> None:
    built = {name: type(instantiate(composed(f"positions={name}").positions)) for name in SCHEMES}
    assert built == {name: type(scheme) for name, scheme in schemes.items()}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ENCODINGS)
def test_each_scheme_works_with_each_encoding(catalogue, schemes, name: str, scheme: str) -> None:
    """Forward and backward in training, forward at test; a batch of two gives what each sequence gives alone."""
    entry = catalogue[name]
    encoder = Encoder(entry.encoding, 12, 3, dim=64, num_heads=4, causal=entry.causal, num_layers=1, readout="query")
    tokens = torch.randint(12, (2, 20))
    out = encoder(tokens, schemes[scheme](tokens, training=True, extra=1))
    out.sum().backward()
    assert out.isfinite().all()
    together = encoder(tokens, schemes[scheme](tokens, training=False, extra=1))
    alone = [encoder(row, schemes[scheme](row, training=False, extra=1)) for row in tokens.split(1)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)


@given(length=st.integers(1, 60), room=st.integers(0, 90), even=st.booleans(), training=st.booleans())
@settings(max_examples=60, deadline=None)
def test_randomized_ids_are_a_sorted_subset(length: int, room: int, even: bool, training: bool) -> None:
    scheme = RandomizedPositions(length + room, "even" if even else "random")
    positions = scheme(torch.zeros(3, length, dtype=torch.long), training=training)
    assert positions.ids.shape == (1, length)
    assert (positions.ids.diff() > 0).all()
    assert positions.ids.min() >= 0
    assert positions.ids.max() < positions.span == length + room


def test_every_randomized_position_is_as_likely() -> None:
    scheme, tokens = RandomizedPositions(40), torch.zeros(1, 10, dtype=torch.long)
    counts = torch.zeros(40)
    for _ in range(4000):
        counts[scheme(tokens, training=True).ids[0]] += 1
    assert ((counts / 4000 - 0.25).abs() < 5 * (0.25 * 0.75 / 4000) ** 0.5).all()


def test_at_test_a_length_has_its_own_ids_each_time() -> None:
    scheme, tokens = RandomizedPositions(), torch.zeros(2, 30, dtype=torch.long)
    first = scheme(tokens, training=False).ids
    torch.rand(5)
    assert torch.equal(scheme(tokens, training=False).ids, first)
    assert not torch.equal(scheme(tokens, training=True).ids, scheme(tokens, training=True).ids)


def test_shifts_differ_between_sequences_in_training_only() -> None:
    scheme, tokens = ShiftedPositions(50), torch.zeros(400, 7, dtype=torch.long)
    positions = scheme(tokens, training=True)
    shift = positions.ids[:, 0]
    assert torch.equal(positions.ids, shift[:, None] + torch.arange(7))
    assert (shift.min(), shift.max()) == (0, 50)
    assert positions.span == 57
    assert torch.equal(scheme(tokens, training=False).ids, torch.arange(7)[None])


@given(length=st.integers(1, 200), trained=st.integers(1, 64))
def test_scaled_positions_stay_within_the_trained_ones(length: int, trained: int) -> None:
    values = ScaledPositions(trained)(torch.zeros(1, length, dtype=torch.long), training=False).values[0]
    assert values.max() <= max(trained, 1) - (1 if length <= trained else 0)
    if length <= trained:
        assert values.tolist() == list(range(length))
    else:
        torch.testing.assert_close(values, torch.arange(length) * (trained / length))


def test_mistakes() -> None:
    with pytest.raises(ConfigError, match=r"span 16 is below length 20; raise positions\.span"):
        RandomizedPositions(16)(torch.zeros(1, 20, dtype=torch.long), training=False)
    with pytest.raises(ConfigError, match="at_test=odd is not one of even, random"):
        RandomizedPositions(16, "odd")
    with pytest.raises(ConfigError, match="max_shift must be a whole number ≥ 0, got -1"):
        ShiftedPositions(-1)
    with pytest.raises(ConfigError, match="original_length must be a whole number ≥ 1, got 0"):
        ScaledPositions([4, 0])
