"""What encodings that are made of others have in common: their parts, and facts that follow from those."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from posenc.checks import ConfigError
from posenc.encodings.base import PositionalEncoding

ORDER = ("embed", "rotate", "bias")
FITTED = ("dim", "num_heads", "causal")
"""What an encoding is built for, and must be the same for all parts."""


class Mixture(PositionalEncoding):
    """Encodings by name, and what follows from them; each class that extends it says how they act together.

    Every part is an ordinary encoding, untouched. What the mixture depends on, whether it needs a causal mask and
    how far it is defined follow from its parts.
    """

    def __init__(self, parts: Mapping[str, PositionalEncoding]) -> None:
        super().__init__()
        name = type(self).__name__
        if not isinstance(parts, Mapping) or not parts:
            raise ConfigError(f"{name}: parts must be encodings by name, got {parts!r:.60}.")
        for key, part in parts.items():
            if not isinstance(part, PositionalEncoding):
                raise ConfigError(f"{name}: part {key} must be an encoding, got {part!r:.60}.")
            if type(part).of_layers is not PositionalEncoding.of_layers:
                raise ConfigError(f"{name}: part {key} is a mixture over layers, which must be the outermost one.")
        self.parts = nn.ModuleDict(dict(parts))
        self.hooks = tuple(hook for hook in ORDER if any(hook in part.hooks for part in self.each))
        self.depends_on = frozenset[str]().union(*(part.depends_on for part in self.each))
        self.causal_only = any(part.causal_only for part in self.each)
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
        """The encodings that are no mixtures."""
        return [leaf for part in self.each for leaf in part.leaves]

    def trained_at(self, length: int) -> None:
        """Tell every part."""
        for part in self.each:
            part.trained_at(length)

    def inject_of(self, parts: list[PositionalEncoding]) -> str:
        """Where `embed` of these parts runs, which must be one place."""
        places = {part.inject: part for part in parts if "embed" in part.hooks}
        if len(places) > 1:
            said = " and ".join(f"{type(part).__name__} at {place}" for place, part in places.items())
            raise ConfigError(f"{type(self).__name__}: {said}: one layer embeds at one place; leave out one of them.")
        return next(iter(places), parts[0].inject)

    def built_as_its_parts(self, *names: str) -> None:
        """Keep what the parts were built for (width, heads, mask), which must be the same for all that say it."""
        for name in names:
            said = {getattr(part, name): key for key, part in self.parts.items() if hasattr(part, name)}
            if len(said) > 1:
                words = " and ".join(f"{key} for {name}={value}" for value, key in said.items())
                raise ConfigError(f"{type(self).__name__}: part {words}; build all parts for one model.")
            for value in said:
                setattr(self, name, value)

    def extra_repr(self) -> str:
        """The constructor's other arguments: the parts are printed below."""
        return ", ".join(f"{key}={value!r}" for key, value in self.options.items())

    @property
    def options(self) -> dict[str, Any]:
        """The constructor's arguments but the parts."""
        return {}
