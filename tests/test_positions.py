"""The sign convention, and the grid of distances."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from posenc.positions import Positions
from posenc.schemes import PositionScheme


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
