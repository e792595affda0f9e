"""LongRoPE: each frequency of RoPE is divided by its own factor."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from posenc import checks
from posenc.checks import ConfigError
from posenc.encodings.rope import RotaryPositionalEncoding
from posenc.positions.positions import Positions
from posenc.positions.schemes import Length, OriginalLength


class LongRotaryPositionalEncoding(OriginalLength, RotaryPositionalEncoding):
    """RoPE with θ_i = base^(−2i/r) / λ_i, and logits of what turns times f²,  f = √(1 + ln s / ln L).

    LongRoPE, Ding et al. 2024 (https://arxiv.org/abs/2402.13753), in the form of Phi-3 and of Hugging Face
    transformers. λ is `short_factor` in sequences of up to L positions (the trained length), and `long_factor` in
    longer ones, r/2 numbers each. The paper finds them by a search that begins with other scalings. null: 1 for the
    short factors, and NTK's s^(2i/(r−2)) for the long ones. `factor` is s; `attention_factor` replaces f. f is used at
    every length, also at short ones, as in transformers. r = d, or the share `rotated` of d. Defined at every length;
    made for up to s times L.

    Deviation from transformers: each sequence has its own choice of factors, not the whole batch, so that no sequence
    changes another. The first positions, which keep their frequency in the paper, are left out, as in transformers.
    """

    source = "https://arxiv.org/abs/2402.13753"
    proof = ("transformers",)
    depends_on = frozenset({"distance", "extent"})
    one_pass = "the first token beyond L rotates all earlier keys again"

    def __init__(
        self,
        dim: int,
        num_heads: int,
        original_length: Length | None = None,
        factor: float = 4.0,
        short_factor: Sequence[float] | None = None,
        long_factor: Sequence[float] | None = None,
        attention_factor: float | None = None,
        base: float = 10_000.0,
        layout: str = "interleaved",
        rotated: float | None = None,
    ) -> None:
        super().__init__(dim, num_heads, base, layout, rotated)
        checks.number(self, low=1, factor=factor)
        checks.number(self, low=0, **checks.given(attention_factor=attention_factor))
        self.factor, self.attention_factor = factor, attention_factor
        self.short_factor = self._one_each(short_factor=short_factor)
        self.long_factor = self._one_each(long_factor=long_factor)
        self._set(original_length)

    def _one_each(self, **factors: Sequence[float] | None) -> list[float] | None:
        ((name, given),) = factors.items()
        if given is None:
            return None
        if not isinstance(given, list | tuple) or len(given) != self.width // 2:
            raise ConfigError(
                f"{type(self).__name__}: {name} must be a list of {self.width // 2} numbers, one for each pair that "
                f"turns, got {given!r}; null takes the default.",
                name,
            )
        for each in given:
            checks.number(self, low=0, open_low=True, **{name: each})
        return [*given]

    @property
    def temperature(self) -> float:
        """f²."""
        if self.attention_factor is not None:
            return self.attention_factor**2
        return 1.0 if self.factor == 1 else 1 + math.log(self.factor) / math.log(max(self.trained, 2))

    def rates(self, positions: Positions, dtype: torch.dtype) -> Tensor:
        theta, pairs = super().rates(positions, dtype), self.width // 2
        short = self.short_factor or [1.0] * pairs
        long = self.long_factor or [self.factor ** (i / max(pairs - 1, 1)) for i in range(pairs)]
        here = (positions.ids.amax(1, keepdim=True) + 1) * positions.scale  # (b, 1)
        slowed = torch.where(here > self.trained, theta.new_tensor(long), theta.new_tensor(short))
        found = theta / slowed
        return found[0] if len(found) == 1 else found
