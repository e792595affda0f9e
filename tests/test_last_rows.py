"""Of queries that come last: their rows of a bias and of a mask are the last ones of the whole."""

import pytest
import torch

from posenc.attention.bias import ByDistance, ByPairs, ByQuery, Dense
from posenc.attention.mask import Mask
from posenc.positions.positions import Positions

PLACES = {
    "0 to N−1": Positions.arange(9),
    "moved": Positions.arange(9).shifted(3),
    "gaps": Positions(torch.tensor([[0, 2, 3, 7, 8, 10, 11, 13, 17]]), span=18),
    "of each": Positions(torch.stack((torch.arange(9), torch.arange(9).flip(0))), span=9, scale=0.5),
}


@pytest.mark.parametrize("places", PLACES)
@pytest.mark.parametrize("kind", ["table", "rows", "read", "pairs", "dense"])
@pytest.mark.parametrize("M", [1, 4, 9])
def test_a_bias_of_the_last_queries_is_the_last_rows(places: str, kind: str, M: int) -> None:
    positions, width = PLACES[places], 2 * PLACES[places].span - 1
    queries, vectors, dense = torch.randn(2, 3, 9, 4), torch.randn(3, width, 4), torch.randn(2, 3, 9, 9)
    rows = slice(9 - M, 9)
    whole, part = {
        "table": (ByDistance(t := torch.randn(1, 3, 1, width)), ByDistance(t)),
        "rows": (ByDistance(t := torch.randn(2, 3, 9, width)), ByDistance(t[:, :, rows])),
        "read": (ByQuery(queries, vectors, vectors), ByQuery(queries[:, :, rows], vectors, vectors)),
        "pairs": (
            ByPairs(lambda _, m, n: dense[:, :, m, n], (), 1),
            ByPairs(lambda _, m, n: dense[:, :, rows][:, :, m, n], (), 1),
        ),
        "dense": (Dense(dense), Dense(dense[:, :, rows])),
    }[kind]
    at = positions.last(M)
    torch.testing.assert_close(part.matrix(at), whole.matrix(positions)[:, :, rows])
    weights = torch.randn(2, 3, 9, 9)
    added = whole.weighted_values(weights, positions)
    if added is not None:
        torch.testing.assert_close(part.weighted_values(weights[:, :, rows], at), added[:, :, rows])
    seen, last = Mask(True, 3).seen(positions), Mask(True, 3).seen(at)
    assert seen is not None
    assert last is not None
    assert torch.equal(last, seen[rows])
    assert torch.equal(Mask(True, 3).keys_seen(at), Mask(True, 3).keys_seen(positions)[rows])
