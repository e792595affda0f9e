"""Logits scaled by how many keys a query sees: what keeps attention sharp where there are more of them.

n is the number of keys that the mask lets a query see: under a causal mask its own prefix within its window, else all
within its window. Position ids play no part. L is the same of the longest training sequence without a window, its
number of tokens. The query is scaled after the encoding has turned it, so that every kernel gives it, and biases are
not scaled.
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
    """What q·k / √d of a query is multiplied by, as a function of the number n of keys that it sees.

    original_length  L; None: the length that is trained
    """

    source: ClassVar[str]

    def __init__(self, num_heads: int, original_length: Length | None = None) -> None:
        super().__init__()
        self._set(original_length)

    def forward(self, keys: Int[Tensor, "*b N"]) -> Float[Tensor, "*h N 1"]:
        """The scale of each query, of all heads or of each; of each sequence for keys of (b, 1, N)."""
        raise NotImplementedError


class ScalableSoftmax(LogitScale):
    """s · log n / log L, s learned for each head from 1 on.

    Scalable-Softmax, Nakanishi 2025 (https://arxiv.org/abs/2501.19399). Deviation: log L is divided out, so that the
    longest training sequence starts as with softmax; the paper's s is s / log L.
    """

    source = "https://arxiv.org/abs/2501.19399"

    def __init__(self, num_heads: int, original_length: Length | None = None) -> None:
        super().__init__(num_heads, original_length)
        self.s = nn.Parameter(torch.ones(num_heads))

    def forward(self, keys: Tensor) -> Tensor:
        return self.s[:, None, None] * _log(keys) / math.log(max(2, self.trained))


class TemperatureTuning(LogitScale):
    """1 + β · log(1 + ⌊(n − 1)/L⌋): 1 up to length L, then a step up after each further L keys.

    Llama 4 (https://ai.meta.com/blog/llama-4-multimodal-intelligence) and Ministral 3
    (https://arxiv.org/abs/2601.08584), with β = 0.1, as in transformers. n − 1 is the position of a query that sees
    all its prefix, as in Ministral 3; Llama 4 has n in its place, one token earlier.
    """

    source = "https://arxiv.org/abs/2601.08584"

    def __init__(self, num_heads: int, original_length: Length | None = None, beta: float = 0.1) -> None:
        super().__init__(num_heads, original_length)
        checks.number(self, low=0, beta=beta)
        self.beta = beta

    def forward(self, keys: Tensor) -> Tensor:
        return 1 + self.beta * torch.log1p(((keys - 1) // self.trained).to(torch.float32))[..., None]


class LogN(LogitScale):
    """max(1, log n / log L): 1 up to length L, then so that entropy stays.

    Su 2021 (https://kexue.fm/archives/8823) and Chiang & Cholak 2022 (https://arxiv.org/abs/2202.12172), in the form of
    Qwen (https://arxiv.org/abs/2309.16609), which scales no query that sees fewer keys than training had.
    """

    source = "https://arxiv.org/abs/2309.16609"

    def forward(self, keys: Tensor) -> Tensor:
        return (_log(keys) / math.log(max(2, self.trained))).clamp(min=1)


FORMS: dict[str, type[LogitScale]] = {
    "scalable_softmax": ScalableSoftmax,
    "temperature_tuning": TemperatureTuning,
    "log_n": LogN,
}
"""By the word that `model.logit_scale` has for it."""


def made(owner: object, num_heads: int, asked: Any) -> LogitScale | None:
    """What `model.logit_scale` asks for in a layer: null, a word of `FORMS`, or a mapping of `form` and its options."""
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
