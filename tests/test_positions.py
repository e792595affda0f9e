"""The sign convention, and the grid of distances."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from posenc.checks import ConfigError, UndefinedAtLength
from posenc.encodings import LearnedAbsolutePositionalEncoding
from posenc.positions.positions import Positions
from posenc.positions.schemes import (
    PositionScheme,
    RandomizedPositions,
    ScaledPositions,
    ShiftedPositions,
    WithinNumber,
)


def test_distance_is_key_minus_query() -> None:
    positions = Positions.arange(5)
    distance = positions.distances[positions.distance_index[0]]
    assert distance[2].tolist() == [-2, -1, 0, 1, 2]
    assert distance[0, 4] == 4
    assert distance[4, 0] == -4


@given(st.lists(st.integers(0, 50), min_size=1, max_size=12), st.integers(0, 9), st.sampled_from([1.0, 0.5, 0.3]))
def test_distances_of_any_ids(ids: list[int], room: int, scale: float) -> None:
    positions = Positions(torch.tensor([ids]), span=max(ids) + 1 + room, scale=scale)
    distance = positions.distances[positions.distance_index[0]]
    values = positions.values[0]
    torch.testing.assert_close(distance, values[None, :] - values[:, None])
    assert positions.values.max() <= positions.extent + 1e-6
    assert len(positions.distances) == 2 * positions.span - 1


def test_a_common_shift_changes_no_distance() -> None:
    positions = Positions.arange(7)
    moved = positions.shifted(13)
    index = moved.distance_index
    assert torch.equal(moved.distances[index], positions.distances[positions.distance_index])
    assert moved.extent == 19


def test_the_contiguous_scheme_counts_the_readouts_own_token() -> None:
    tokens = torch.zeros(3, 6, dtype=torch.long)
    assert PositionScheme()(tokens, training=True).ids.tolist() == [list(range(6))]
    assert PositionScheme()(tokens, training=False, extra=1).length == 7


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Positions(torch.tensor([[-1, 0, 1]]), 3), r"lie in \[0, 3\), got -1 to 1"),
        (lambda: Positions(torch.tensor([[0, 3]]), 3), r"lie in \[0, 3\), got 0 to 3"),
        (lambda: Positions(torch.tensor([[0, 5, 9]]), 10, consecutive=True), "do not follow one another"),
        (lambda: Positions(torch.tensor([[0, 1], [1, 0]]), 2, consecutive=True), "do not follow one another"),
        (lambda: Positions(torch.tensor([[0.0, 1.0]]), 2), "whole numbers of shape"),
        (lambda: Positions(torch.arange(3), 3), "whole numbers of shape"),
        (lambda: Positions(torch.arange(3)[None], 3, scale=float("nan")), "scale must be a number"),
        (lambda: Positions.arange(3).shifted(-1), "shift must be ≥ 0"),
    ],
)
def test_ids_are_what_they_are_said_to_be(make: Callable[[], Positions], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_numbers_within_a_sequence_stand_at_their_digits_however_long_it_is() -> None:
    tokens, scheme = torch.tensor([[1, 2, 3, 10] * 150]), WithinNumber(range(10))
    table = LearnedAbsolutePositionalEncoding(8, 512)
    positions = scheme(tokens, training=False)
    vectors = table.embed(torch.zeros(1, 600, 8), positions)
    assert torch.equal(vectors[0, :4], table.table[[1, 2, 3, 0]])
    assert scheme(tokens, training=True).span == 3 + 1 + 99
    with pytest.raises(UndefinedAtLength, match="holds 512 positions, got 601"):
        table.embed(torch.zeros(1, 600, 8), scheme(torch.ones(1, 600, dtype=torch.long), training=False))


def test_schemes_are_known_to_be_right() -> None:
    """They are not checked again at each step, so here they are."""
    tokens = torch.tensor([[1, 2, 10, 3, 10, 10, 4, 5], [10, 10, 1, 1, 1, 1, 10, 1]])
    for scheme in (
        PositionScheme(),
        WithinNumber(range(10)),
        RandomizedPositions(20),
        ShiftedPositions(9),
        ScaledPositions(5),
    ):
        for training in (False, True):
            for extra in (0, 1):
                found = scheme(tokens, training=training, extra=extra)
                Positions(found.ids, found.span, found.scale, found.consecutive)
