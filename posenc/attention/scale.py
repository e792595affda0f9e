"""Scales logits by a function of how many keys a query sees. More keys make attention flatter; this corrects it.

n is the number of keys that the mask lets a query see. Under a causal mask these are the tokens up to the query, else
all tokens; in both cases only those within its window. Position ids do not matter. L is the number of tokens of the
longest training sequence. The query is scaled after the encoding has rotated it. So every kernel can be used, and
biases are not scaled.
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from posenc import checks
from posenc.checks import ConfigError
from posenc.positions.schemes import Length, OriginalLength


class LogitScale(OriginalLength, nn.Module):
    """The factor of a query's q·k / √d, a function of the number n of keys that the query sees.

    original_length  L; None: the trained length
    """

    source: ClassVar[str]

    def __init__(self, num_heads: int, original_length: Length | None = None) -> None:
        super().__init__()
        self._set(original_length)

    def forward(self, keys: Int[Tensor, "*b N"]) -> Float[Tensor, "*h N 1"]:
        """The factor of each query, for all heads or for each head. Keys (b, 1, N) give one for each sequence."""
        raise NotImplementedError


class ScalableSoftmax(LogitScale):
    """s · log n / log L; s is learned for each head and starts at 1.

    Scalable-Softmax, Nakanishi 2025 (https://arxiv.org/abs/2501.19399). Deviation: we divide by log L, so that the
    longest training sequence starts with the plain softmax. The paper's s is our s / log L.
    """

    source = "https://arxiv.org/abs/2501.19399"

    def __init__(self, num_heads: int, original_length: Length | None = None) -> None:
        super().__init__(num_heads, original_length)
        self.s = nn.Parameter(torch.ones(num_heads))

    def forward(self, keys: Tensor) -> Tensor:
        return self.s[:, None, None] * _log(keys) / math.log(max(2, self.trained))


class TemperatureTuning(LogitScale):
    """1 + β · log(1 + ⌊(n − 1)/L⌋): 1 up to length L, and one step larger after each further L keys.

    Llama 4 (https://ai.meta.com/blog/llama-4-multimodal-intelligence) and Ministral 3
    (https://arxiv.org/abs/2601.08584), with β = 0.1, as in transformers. For a query that sees all earlier tokens,
    n − 1 is its position, as in Ministral 3. Llama 4 has n in place of n − 1, so its steps come one token earlier.
    """

    source = "https://arxiv.org/abs/2601.08584"

    def __init__(self, num_heads: int, original_length: Length | None = None, beta: float = 0.1) -> None:
        super().__init__(num_heads, original_length)
        checks.number(self, low=0, beta=beta)
        self.beta = beta

    def forward(self, keys: Tensor) -> Tensor:
        return 1 + self.beta * torch.log1p(((keys - 1) // self.trained).to(torch.float32))[..., None]


class LogN(LogitScale):
    """max(1, log n / log L): 1 up to length L. For more keys it keeps the entropy of the weights about constant.

    Su 2021 (https://kexue.fm/archives/8823) and Chiang & Cholak 2022 (https://arxiv.org/abs/2202.12172), in the form of
    Qwen (https://arxiv.org/abs/2309.16609): a query that sees fewer keys than training had is not scaled.
    """

    source = "https://arxiv.org/abs/2309.16609"

    def forward(self, keys: Tensor) -> Tensor:
        return (_log(keys) / math.log(max(2, self.trained))).clamp(min=1)


FORMS: dict[str, type[LogitScale]] = {
    "scalable_softmax": ScalableSoftmax,
    "temperature_tuning": TemperatureTuning,
    "log_n": LogN,
}
"""The classes, by their words in `model.logit_scale`."""


def made(owner: object, num_heads: int, asked: Any) -> LogitScale | None:
    """The LogitScale of a layer, from `model.logit_scale`: None, a word of `FORMS`, or {form: WORD, option: value}."""
    if asked is None:
        return None
    given = dict(asked) if isinstance(asked, Mapping) else {"form": asked}
    form = given.pop("form", None)
    checks.one_of(owner, FORMS, logit_scale=form)
    known = ("original_length", "beta") if form == "temperature_tuning" else ("original_length",)
    for key in given:
        if key not in known:
            raise ConfigError(
                f"{type(owner).__name__}: logit_scale={form} has no option {key}; it has {', '.join(known)}, as in "
                f"model.logit_scale={{form: {form}, {known[0]}: 64}}."
            )
    return FORMS[form](num_heads, **given)


def _log(keys: Tensor) -> Tensor:
    return keys.to(torch.float32).log()[..., None]
