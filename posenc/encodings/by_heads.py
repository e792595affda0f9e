"""Different encodings on different heads."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from posenc import checks
from posenc.attention.bias import Bias
from posenc.attention.combine import side_by_side
from posenc.checks import ConfigError
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.mixture import Mixture
from posenc.positions.positions import Positions


class ByHeads(Mixture):
    """head h reads parts[heads[⌊h·P/H⌋]],  P = len(heads)

    A mixture over heads: equal shares of the heads, in order, have the encodings in `heads`. With ALiBi of slopes
    s_h = 1/h on one half and no encoding on the other it is NAPE (Vasylenko et al. 2025,
    https://arxiv.org/abs/2506.16640; deep-spin/asentmax). A part is built only for its own heads: ALiBi on two heads of
    four has the slopes of two heads. A part may not embed, because embeddings belong to all heads, and it may not read
    the whole input of the layer. Each part decides whether layers share its weights. Defined at all lengths at which
    all parts are defined.

    `heads` names the part of each share. `parts` are encodings by name, built for their own heads, or functions of
    num_heads and dim that build them (`_partial_: true` in a yaml file).
    """

    source = "https://arxiv.org/abs/2506.16640"
    proof = ("formula",)

    def __init__(
        self,
        parts: Mapping[str, PositionalEncoding | partial[PositionalEncoding]],
        num_heads: int,
        heads: Sequence[str],
    ) -> None:
        checks.positive("ByHeads", num_heads=num_heads)
        if isinstance(heads, str) or not isinstance(heads, Sequence) or not heads:
            raise ConfigError(f"ByHeads: heads must be a list of names of parts, got {heads!r}.", "heads")
        shares = [(name, len([*run])) for name, run in groupby(heads)]
        names = [name for name, _ in shares]
        if not isinstance(parts, Mapping) or sorted(names) != sorted(parts):
            known = ", ".join(parts) if isinstance(parts, Mapping) else parts
            raise ConfigError(
                f"ByHeads: heads={list(heads)} must name each of the parts {known}, once or several times in a row.",
                "heads",
            )
        if num_heads % len(heads):
            raise ConfigError(
                f"ByHeads: {num_heads} heads do not split into {len(heads)} equal shares; "
                f"set model.num_heads to a multiple of {len(heads)}."
            )
        each = num_heads // len(heads)
        counts = [count * each for _, count in shares]
        super().__init__(
            {name: _built(name, parts[name], count, num_heads) for name, count in zip(names, counts, strict=True)}
        )
        self.num_heads, self.heads, self.counts = num_heads, list(heads), counts
        self.made_of = ", ".join(
            f"{name} on {count} of {num_heads} heads" for name, count in zip(names, counts, strict=True)
        )
        self.built_as_its_parts("causal")
        for name, part, count in zip(names, self.each, self.counts, strict=True):
            _check(name, part, count)
        dims: list[int | None] = [getattr(part, "dim", None) for part in self.each]
        widths = {dim // count for dim, count in zip(dims, self.counts, strict=True) if dim is not None}
        if len(widths) > 1:
            raise ConfigError(
                f"ByHeads: parts are built for heads of widths {sorted(widths)}; build all for one width."
            )
        self.widths = [0] * len(names)
        if widths:
            self.dim = widths.pop() * num_heads
            self.probe("it reads the layer's whole input; use it on all heads of a layer, as in encoding=A-B or A+B")

    @property
    def options(self) -> dict[str, Any]:
        """Which heads have which part."""
        return {"num_heads": self.num_heads, "heads": self.heads}

    def rotate(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> tuple[Tensor, Tensor]:
        if "rotate" not in self.hooks:
            return q, k
        split = zip(self.each, q.split(self.counts, 1), k.split(self.counts, 1), strict=True)
        turned = [part.rotate(x, own, other, positions) for part, own, other in split]
        widest = max(own.shape[-1] for own, _ in turned)
        return _wide([own for own, _ in turned], widest), _wide([other for _, other in turned], widest)

    def bias(self, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> Bias | None:
        split = zip(self.each, self.widths, q.split(self.counts, 1), k.split(self.counts, 1), strict=True)
        biases = [
            part.bias(x, own[..., : width or None], other[..., : width or None], positions)
            for part, width, own, other in split
        ]
        return side_by_side(biases, self.counts, positions)

    def ask(self, x: Tensor, q: Tensor, positions: Positions) -> None:
        """Find out the width that each part gives queries."""
        split = zip(self.each, q.split(self.counts, 1), strict=True)
        self.widths = [part.rotate(x, own, own, positions)[0].shape[-1] for part, own in split]
        super().ask(x, q, positions)


def _built(name: str, part: Any, count: int, num_heads: int) -> Any:
    """The part. If a function is given, it builds the part for its heads, with its share of the model's dim."""
    if not isinstance(part, partial):
        return part
    given = part.keywords
    if given.get("num_heads", num_heads) != num_heads:
        raise ConfigError(
            f"ByHeads: part {name} gets its share of the {num_heads} heads, and num_heads={given['num_heads']} is set; "
            f"leave encoding.parts.{name}.num_heads to follow model.num_heads."
        )
    own = {"num_heads": count} if "num_heads" in given else {}
    if isinstance(dim := given.get("dim"), int):
        checks.divisible("ByHeads", dim=dim, num_heads=num_heads)
        own["dim"] = dim // num_heads * count
    try:
        return part(**own)
    except ConfigError as error:
        raise error.named(lambda option: f"parts.{name}.{option}") from error


def _wide(vectors: Sequence[Tensor], width: int) -> Tensor:
    """All heads in one tensor, padded with zeros to one width. Zeros change no product."""
    return torch.cat([x if x.shape[-1] == width else F.pad(x, (0, width - x.shape[-1])) for x in vectors], 1)


def _check(name: str, part: PositionalEncoding, count: int) -> None:
    """Raise ConfigError if a part embeds, or was built for another number of heads."""
    if getattr(part, "num_heads", count) != count:
        raise ConfigError(f"ByHeads: part {name} has {count} heads and was built for num_heads={part.num_heads}.")
    if "embed" in part.hooks:
        raise ConfigError(
            f"ByHeads: {type(part).__name__} ({name}) enters at the embeddings, which all heads read; write it beside "
            "the others, as in encoding=A+B:C."
        )
