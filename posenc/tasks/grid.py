"""A task in two dimensions: the value in the row of one mark and the column of another."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor

from posenc import checks
from posenc.tasks.base import Task
from posenc.tasks.parts.counts import expected_largest_count


@dataclass(kw_only=True, eq=False, repr=False)
class GridCrossing(Task):
    """Which value is in the row of the first mark and the column of the second?

        columns 4, # and @ are the marks

        7 2 5 0
        1 # 9 3        → 3
        2 0 8 @

    Law: `length` rows of `columns` cells each, given row by row. Values are uniform and independent over V symbols; the
    marks V and V + 1 replace two of them, in different rows and columns, uniform among all such places. Random guess:
    1/V.

    Source: our own. In the sequence the answer has no fixed distance from either mark. In the grid it is 0 rows from
    the first mark and 0 columns from the second. At lengths beyond training the grid has more rows.
    """

    published = "nothing that we know of; our own."

    length: Any = 4
    vocab_size: int = field(init=False)
    num_values: int = 20
    columns: int = 8
    readout: str = "query"

    determined_by = "sequence"
    min_length = 2

    def __post_init__(self) -> None:
        checks.positive(self, minimum=2, num_values=self.num_values, columns=self.columns)
        self.num_outputs, self.vocab_size = self.num_values, self.num_values + 2
        super().__post_init__()

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        V, C = self.num_values, self.columns
        tokens = torch.randint(V, (batch, length * C), generator=generator)
        row, column = (torch.randint(size, (batch, 1), generator=generator) for size in (length, C))
        down, along = (torch.randint(1, size, (batch, 1), generator=generator) for size in (length, C))
        other_row, other_column = (row + down) % length, (column + along) % C
        tokens.scatter_(1, row * C + column, V).scatter_(1, other_row * C + other_column, V + 1)
        return tokens, tokens.gather(1, row * C + other_column)[:, 0]

    def order_blind_ceiling(self, length: int) -> float:
        """Exact: each of the m = length · columns − 2 values is equally likely to be the one, so E[largest count]/m."""
        m = length * self.columns - 2
        return expected_largest_count(m, self.num_values) / m
