"""RoPE over three axes: some pairs turn with the frame, some with the row, some with the column."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from posenc import checks
from posenc.checks import ConfigError
from posenc.encodings.rope import RotaryPositionalEncoding
from posenc.positions.positions import Positions


class MultimodalRotaryPositionalEncoding(RotaryPositionalEncoding):
    """RoPE with the angles t θ_i of the first pairs, y θ_i of the next and x θ_i of the last,  θ_i = base^(−2i/d).

    M-RoPE, Qwen2-VL, Wang et al. 2024 (https://arxiv.org/abs/2409.12191). Tokens are frames, one after another, of
    `rows` rows of C = `columns` columns: t = ⌊p/(rows·C)⌋, y = ⌊p/C⌋ mod rows, x = p mod C. Without `rows` they are one
    image of any number of rows, and t = 0. `sections` says how many pairs each axis has: 16, 24 and 24 of 64 in the
    paper; by default as close to these shares as whole pairs allow. Time has the highest frequencies. Columns have the
    lowest, and weights in bfloat16 do not distinguish all their steps. A token at (p, p, p), such as text in the paper,
    turns as with RoPE. Defined at every number of frames, or of rows.
    """

    source = "https://arxiv.org/abs/2409.12191"
    proof = ("transformers", "formula")
    depends_on = frozenset({"distance", "position"})

    def __init__(
        self,
        dim: int,
        num_heads: int,
        columns: int,
        rows: int | None = None,
        sections: Sequence[int] | None = None,
        base: float = 10_000.0,
        layout: str = "half_split",
    ) -> None:
        super().__init__(dim, num_heads, base, layout)
        checks.positive(self, columns=columns, **checks.given(rows=rows))
        pairs = self.width // 2
        if sections is not None:
            counts: list[Any] = [*sections] if isinstance(sections, list | tuple) else [sections]
            for count in counts:
                checks.positive(self, minimum=0, sections=count)
            if len(counts) != 3 or sum(counts) != pairs:
                raise ConfigError(
                    f"{type(self).__name__}: sections must be three numbers whose sum is the {pairs} pairs of a head, "
                    f"got {counts}; set sections=null for shares of 1, 1.5 and 1.5.",
                    "sections",
                )
        self.columns, self.rows = columns, rows
        self.sections = None if sections is None else list(sections)
        time = pairs // 4
        self.pairs = self.sections or [time, (pairs - time) // 2, pairs - time - (pairs - time) // 2]

    def angle(self, positions: Positions, dtype: torch.dtype) -> Tensor:
        p = positions.values.to(dtype)[:, None, :, None]
        line = (p / self.columns).floor()
        frame = torch.zeros_like(line) if self.rows is None else (line / self.rows).floor()
        row = line if self.rows is None else line - frame * self.rows
        axes = (frame, row, p - line * self.columns)
        place = torch.cat([at.expand(-1, -1, -1, n) for at, n in zip(axes, self.pairs, strict=True)], -1)
        return place * self.rates(positions, dtype)
