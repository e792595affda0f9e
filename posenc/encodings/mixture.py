"""The base class of encodings that are made of other encodings."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from posenc.checks import ConfigError
from posenc.encodings.base import PositionalEncoding
from posenc.positions.positions import Positions
from posenc.positions.schemes import OriginalLength

ORDER = ("embed", "rotate", "bias")
FITTED = ("dim", "num_heads", "causal")
"""Arguments that an encoding is built with, and that must be the same for all parts."""


class Mixture(PositionalEncoding):
    """Encodings by name. Each subclass decides how they act together.

    Every part is an ordinary encoding. The parts decide what the mixture depends on, whether it needs a causal mask,
    and at which lengths it is defined.
    """

    def __init__(self, parts: Mapping[str, PositionalEncoding]) -> None:
        super().__init__()
        name = type(self).__name__
        if not isinstance(parts, Mapping) or not parts:
            raise ConfigError(f"{name}: parts must be named encodings, got {parts!r:.60}.", "parts")
        for key, part in parts.items():
            if not isinstance(part, PositionalEncoding):
                raise ConfigError(f"{name}: part {key} must be an encoding, got {part!r:.60}.")
            if type(part).of_layers is not PositionalEncoding.of_layers:
                raise ConfigError(f"{name}: part {key} is a mixture over layers, which must be the outermost one.")
        self.parts = nn.ModuleDict(dict(parts))
        self.hooks = tuple(hook for hook in ORDER if any(hook in part.hooks for part in self.each))
        self.depends_on = frozenset[str]().union(*(part.depends_on for part in self.each))
        self.causal_only = any(part.causal_only for part in self.each)
        self.reads_input = any(part.reads_input for part in self.each)
        self.reads_before = any(part.reads_before for part in self.each)
        self.one_pass = next((part.one_pass for part in self.each if part.one_pass), "")
        self.per_layer = any(part.per_layer for part in self.each)
        longest = [getattr(leaf, "max_length", None) for leaf in self.leaves]
        if any(longest):
            self.max_length = min(length for length in longest if length)

    @property
    def each(self) -> list[PositionalEncoding]:
        """The parts in their order."""
        return [part for part in self.parts.values() if isinstance(part, PositionalEncoding)]

    @property
    def leaves(self) -> list[PositionalEncoding]:
        """The encodings inside that are no mixtures."""
        return [leaf for part in self.each for leaf in part.leaves]

    def for_layers(self, num_layers: int, own: bool | None = None) -> list[PositionalEncoding]:
        """This mixture in all layers; or a new mixture for each layer, if a part has its own weights in each layer."""
        columns = [part.for_layers(num_layers, own) for part in self.each]
        if all(part is column[0] for column in columns for part in column):
            return [self] * num_layers
        rows = zip(*columns, strict=True)
        next(rows)  # the first layer has the parts themselves
        return [self, *(type(self)(dict(zip(self.parts, row, strict=True)), **self.options) for row in rows)]

    def trained_at(self, length: int) -> None:
        """Tell every part."""
        for part in self.each:
            part.trained_at(length)

    def inject_of(self, parts: list[PositionalEncoding]) -> str:
        """Where `embed` of these parts runs. Raises ConfigError if they differ."""
        places = {part.inject: part for part in parts if "embed" in part.hooks}
        if len(places) > 1:
            said = " and ".join(f"{type(part).__name__} at {place}" for place, part in places.items())
            raise ConfigError(f"{type(self).__name__}: {said}: a layer embeds at one place only; leave one out.")
        return next(iter(places), parts[0].inject)

    def built_as_its_parts(self, *names: str) -> None:
        """Copy the parts' width, heads and mask. Raises ConfigError if they differ between parts."""
        for name in names:
            said = {getattr(part, name): key for key, part in self.parts.items() if hasattr(part, name)}
            if len(said) > 1:
                words = " and ".join(f"{key} for {name}={value}" for value, key in said.items())
                raise ConfigError(f"{type(self).__name__}: part {words}; build all parts for one model.")
            for value in said:
                setattr(self, name, value)

    @torch.no_grad()
    def probe(self, why: str) -> None:
        """Call the parts for two tokens. A part that is not possible here raises ConfigError with `why`."""
        dim, heads = getattr(self, "dim", None), getattr(self, "num_heads", None)
        if dim is None or heads is None or next(self.parameters(), torch.empty(0)).is_meta:
            return
        positions, x, q = Positions.arange(2), torch.zeros(1, 2, dim), torch.zeros(1, heads, 2, dim // heads)
        untold = [leaf for leaf in self.leaves if isinstance(leaf, OriginalLength) and leaf.original_length is None]
        for leaf in untold:  # `trained_at` comes later
            leaf.original_length = 2
        try:
            self.ask(x, q, positions)
        except RuntimeError as error:
            names = ", ".join(self.parts)
            raise ConfigError(f"{type(self).__name__}: one of {names} does not fit: {why}.") from error
        finally:
            for leaf in untold:
                leaf.original_length = None

    def ask(self, x: Tensor, q: Tensor, positions: Positions) -> None:
        """Rotate and compute the bias."""
        bias = self.bias(x, *self.rotate(x, q, q, positions), positions)
        if bias is not None:
            bias.matrix(positions)

    def extra_repr(self) -> str:
        """The constructor's arguments without the parts, because the parts are printed below."""
        return ", ".join(f"{key}={value!r}" for key, value in self.options.items())

    @property
    def options(self) -> dict[str, Any]:
        """The constructor's arguments without the parts."""
        return {}
