"""A table over distances and the N×N matrix it stands for."""

import pytest
import torch

from posenc.attention.bias import ByDistance, Dense
from posenc.positions.positions import Positions


def expected(table: torch.Tensor, positions: Positions, batch: int) -> torch.Tensor:
    """The definition, entry by entry."""
    heads, N = table.shape[1], positions.length
    out = torch.empty(batch, heads, N, N)
    for b in range(batch):
        ids = positions.ids[b % len(positions.ids)]
        for m in range(N):
            for n in range(N):
                row = m if table.shape[2] > 1 else 0
                column = int(ids[n] - ids[m]) + positions.span - 1
                out[b, :, m, n] = table[b % len(table), :, row, column]
    return out


PLACES = {
    "0 to N−1": Positions.arange(6),
    "consecutive from 3": Positions.arange(6).shifted(3),
    "one subset": Positions(torch.tensor([[0, 2, 3, 7, 8, 10]]), span=12),
    "a subset each": Positions(torch.tensor([[0, 2, 3, 7, 8, 10], [1, 2, 4, 5, 6, 11]]), span=12),
    "out of order": Positions(torch.tensor([[4, 2, 0, 1, 5, 3]]), span=6),
}


@pytest.mark.parametrize("places", PLACES)
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("rows", [1, 6])
def test_matrix_is_the_table_read_at_each_distance(places: str, batch: int, rows: int) -> None:
    positions = PLACES[places]
    table = torch.randn(batch, 3, rows, 2 * positions.span - 1)
    matrix = ByDistance(table).matrix(positions)
    full = max(batch, len(positions.ids))
    assert torch.equal(matrix.expand(full, -1, -1, -1), expected(table, positions, full))


@pytest.mark.parametrize("places", PLACES)
def test_gradient_reaches_every_distance_that_occurs(places: str) -> None:
    positions = PLACES[places]
    table = torch.zeros(1, 2, 1, 2 * positions.span - 1, requires_grad=True)
    matrix = ByDistance(table).matrix(positions)
    matrix.sum().backward()
    counts = torch.bincount(positions.distance_index.flatten(), minlength=table.shape[-1]).float()
    assert table.grad is not None
    torch.testing.assert_close(table.grad[0, :, 0], counts.expand(2, -1))


def test_dense_is_itself() -> None:
    logits = torch.randn(2, 1, 4, 4)
    assert Dense(logits).matrix(Positions.arange(4)) is logits
