"""YaRN: the scaling of a frequency depends on its wavelength, and attention is sharper."""

import math

import torch
from torch import Tensor

from posenc import checks
from posenc.checks import ConfigError
from posenc.encodings.rope import RotaryPositionalEncoding
from posenc.positions.positions import Positions
from posenc.positions.schemes import Length, OriginalLength


class YarnRotaryPositionalEncoding(OriginalLength, RotaryPositionalEncoding):
    """RoPE with θ_i ← (γ_i + (1 − γ_i)/s) θ_i, and logits of what turns times f²,  f = 0.1 ln s + 1.

    YaRN, Peng et al. 2023 (https://arxiv.org/abs/2309.00071). Pairs that make more than `beta_fast` turns in the
    trained length L keep their frequency (γ = 1). Pairs that make fewer than `beta_slow` turns are interpolated
    (γ = 0). Between them γ falls linearly in i, from ⌊c(beta_fast)⌋ to ⌈c(beta_slow)⌉. Here
    c(β) = d ln(L / 2πβ) / (2 ln base) is the index of the pair that makes β turns (rounded outwards and kept within
    [0, d − 1], as in the authors' code; the paper's ramp is linear in the number of turns). If L is so short that no
    pair makes `beta_slow` turns, all but the first are interpolated (transformers' ramp then has a negative length and
    interpolates none). As in transformers, `attention_factor` replaces f, `mscale` and `mscale_all_dim` together make
    f = (0.1 mscale ln s + 1) / (0.1 mscale_all_dim ln s + 1), and `truncate=false` leaves c unrounded (gpt-oss).
    `rotated` is the share of d that turns; in all formulas above d is this part. Where transformers ignores an option
    (`mscale` without the other, or either together with `attention_factor`), it is refused. Defined at every length;
    made for up to s times L.
    """

    source = "https://arxiv.org/abs/2309.00071"
    proof = ("transformers", "formula")

    def __init__(
        self,
        dim: int,
        num_heads: int,
        original_length: Length | None = None,
        factor: float = 4.0,
        beta_fast: float = 32.0,
        beta_slow: float = 1.0,
        base: float = 10_000.0,
        layout: str = "interleaved",
        rotated: float | None = None,
        attention_factor: float | None = None,
        mscale: float | None = None,
        mscale_all_dim: float | None = None,
        truncate: bool = True,
    ) -> None:
        super().__init__(dim, num_heads, base, layout, rotated)
        checks.number(self, low=1, factor=factor)
        checks.number(self, low=0, open_low=True, beta_slow=beta_slow)
        checks.number(self, low=beta_slow, open_low=True, beta_fast=beta_fast)
        checks.boolean(self, truncate=truncate)
        given = checks.given(attention_factor=attention_factor, mscale=mscale, mscale_all_dim=mscale_all_dim)
        checks.number(self, low=0, high=1e6, open_low=True, **given)
        if (mscale is None) != (mscale_all_dim is None):
            raise ConfigError(
                f"{type(self).__name__}: mscale and mscale_all_dim work together; set both, or neither.",
                "mscale", "mscale_all_dim",
            )  # fmt: skip
        if attention_factor is not None and mscale is not None:
            raise ConfigError(
                f"{type(self).__name__}: attention_factor or mscale and mscale_all_dim make f; leave one.",
                "attention_factor", "mscale", "mscale_all_dim",
            )  # fmt: skip
        self.factor = factor
        self.beta_fast, self.beta_slow = beta_fast, beta_slow
        self.attention_factor, self.mscale, self.mscale_all_dim = attention_factor, mscale, mscale_all_dim
        self.truncate = truncate
        self._set(original_length)

    @property
    def temperature(self) -> float:
        """f²."""
        if self.attention_factor is not None:
            return self.attention_factor**2
        both = (1.0 if self.mscale is None else self.mscale, self.mscale_all_dim or 0.0)
        above, below = (0.1 * scale * math.log(self.factor) + 1 for scale in both)
        return (above / below) ** 2

    def rates(self, positions: Positions, dtype: torch.dtype) -> Tensor:
        theta = super().rates(positions, dtype)

        def pair_of(turns: float) -> float:
            return self.width * math.log(self.trained / (turns * 2 * math.pi)) / (2 * math.log(self.base))

        first, last = pair_of(self.beta_fast), pair_of(self.beta_slow)
        if self.truncate:
            first, last = math.floor(first), math.ceil(last)
        first, last = max(first, 0), min(last, self.width - 1)
        pair = torch.arange(len(theta), device=theta.device, dtype=dtype)
        slowed = ((pair - first) / max(last - first, 0.001)).clamp(0, 1)
        return theta * (1 - slowed) + theta / self.factor * slowed
