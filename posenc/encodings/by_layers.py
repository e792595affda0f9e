"""Different encodings in different layers, by a pattern."""

from collections.abc import Mapping, Sequence
from typing import Any

from posenc import checks
from posenc.checks import ConfigError
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.mixture import FITTED, Mixture


class ByLayers(Mixture):
    """layer l reads parts[layers[(l − 1) mod P]],  P = len(layers)

    A mixture over layers, such as RoPE in three layers of four and nothing in the fourth (RNoPE, Yang et al. 2025,
    https://arxiv.org/abs/2501.18795; Llama 4, SmolLM3) or two bases (Gemma 3, https://arxiv.org/abs/2503.19786). The
    number of layers is a multiple of the pattern's length. Each part decides whether its layers share its weights.
    `own` overrides this for single parts, and `model.encoding_per_layer` for all parts. A part that enters at the token
    embeddings enters once, before the first of its layers.

    `parts` are encodings by name. `layers` is the pattern: the name of each layer's part. `own` says for a part by name
    whether each layer has its own weights (true) or all share them (false); None: the part decides.
    """

    source = "https://arxiv.org/abs/2501.18795"
    proof = ("formula",)

    def __init__(
        self,
        parts: Mapping[str, PositionalEncoding],
        layers: Sequence[str],
        own: Mapping[str, bool | None] | None = None,
    ) -> None:
        super().__init__(parts)
        if isinstance(layers, str) or not isinstance(layers, Sequence) or not layers:
            raise ConfigError(f"ByLayers: layers must be a list of names of parts, got {layers!r}.", "layers")
        for name in layers:
            if name not in self.parts:
                known = ", ".join(self.parts)
                raise ConfigError(f"ByLayers: layers names {name}, but the parts are {known}.", "layers")
        idle = [name for name in self.parts if name not in layers]
        if idle:
            raise ConfigError(
                f"ByLayers: no layer has the part {idle[0]}; add it to layers, or leave it out.", "layers"
            )
        for name, value in (own or {}).items():
            if name not in self.parts or not (value is None or isinstance(value, bool)):
                raise ConfigError(f"ByLayers: own.{name}={value} must be true, false or null for a part's name.", "own")
        self.layers, self.own = list(layers), dict(own or {})
        self.layers_in_pattern, self.made_of = len(layers), f"layer by layer {', '.join(layers)}, and again"
        self.inject = next((part.inject for part in self.each if "embed" in part.hooks), "input")
        self.built_as_its_parts(*FITTED)

    @property
    def options(self) -> dict[str, Any]:
        """The pattern, and which weights are shared."""
        return {"layers": self.layers, "own": self.own}

    def of_layers(self, num_layers: int) -> list[PositionalEncoding]:
        """The part of each layer. Raises ConfigError if the number of layers is no multiple of the pattern's length."""
        by_name = dict(zip(self.parts, self.each, strict=True))
        return [by_name[name] for name in self._names(num_layers)]

    def for_layers(self, num_layers: int, own: bool | None = None) -> list[PositionalEncoding]:
        """The part of each layer, or a copy of it for each of its layers."""
        names = self._names(num_layers)
        copies = {
            name: iter(part.for_layers(names.count(name), self.own.get(name) if own is None else own))
            for name, part in zip(self.parts, self.each, strict=True)
        }
        return [next(copies[name]) for name in names]

    def _names(self, num_layers: int) -> list[str]:
        checks.repeats(self, num_layers, **{"encoding.layers": self.layers})
        return [self.layers[layer % len(self.layers)] for layer in range(num_layers)]
