"""Assigns encodings and options to the layers of an encoder."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from posenc import checks
from posenc.checks import ConfigError
from posenc.encodings.base import PositionalEncoding

INJECTIONS = ("input", "every_layer", "attention")


@dataclass(frozen=True)
class Layers:
    """The encodings of a stack of layers.

    encodings  every encoding once
    order      for each layer, the index of its encoding in `encodings`
    embeds     for each layer, whether `embed` runs on the residual stream before the layer
    inside     for each layer, whether `embed` runs on the input of attention
    inject     where `embed` runs in the first layer whose encoding has it
    """

    encodings: list[PositionalEncoding]
    order: tuple[int, ...]
    embeds: tuple[bool, ...]
    inside: tuple[bool, ...]
    inject: str


def assign(
    owner: object, encoding: PositionalEncoding, num_layers: int, inject: str | None, own: bool | None
) -> Layers:
    """Give each layer its encoding.

    An encoding that enters at the input enters before the first layer that has it. Raises ConfigError for an encoding
    that does not fit the number of layers, and for copies that would not be used.

    inject  input, every_layer or attention; None: the encoding's choice
    own     whether each layer has a copy with its own weights; None: the encoding's choice
    """
    if not isinstance(encoding, PositionalEncoding):
        raise ConfigError(f"{type(owner).__name__}: encoding must be a PositionalEncoding, got {encoding!r}.")
    if own is not None:
        checks.boolean(owner, encoding_per_layer=own)
    if inject is not None:
        checks.one_of(owner, INJECTIONS, inject=inject)
    parts = encoding.of_layers(num_layers)
    layers = encoding.for_layers(num_layers, own)
    where = [part.inject if inject is None else inject for part in parts]
    first = [next(i for i, other in enumerate(parts) if other is part) for part in parts]
    embeds = tuple(at == "every_layer" or (at == "input" and first[i] == i) for i, at in enumerate(where))
    asked = {
        id(leaf)
        for layer, at, runs in zip(layers, where, embeds, strict=True)
        for leaf in layer.leaves
        if leaf.in_attention or runs or at == "attention"
    }
    for leaf in (leaf for layer in layers for leaf in layer.leaves):
        if id(leaf) not in asked and any(True for _ in leaf.parameters()):
            raise ConfigError(
                f"{type(owner).__name__}: {type(leaf).__name__} is used once, at the input, so copies for other layers "
                "would never learn; set model.inject=every_layer, or model.encoding_per_layer=false."
            )
    distinct = list({id(layer): layer for layer in layers}.values())
    place = {id(layer): index for index, layer in enumerate(distinct)}
    embedding = [at for part, at in zip(parts, where, strict=True) if "embed" in part.hooks]
    return Layers(
        encodings=distinct,
        order=tuple(place[id(layer)] for layer in layers),
        embeds=embeds,
        inside=tuple(at == "attention" for at in where),
        inject=[*embedding, where[0]][0],
    )


def each_layer(owner: object, num_layers: int, **option: Any) -> list[Any]:
    """The value of an option in each layer; a list repeats over the layers."""
    ((name, value),) = option.items()
    if isinstance(value, str) or not isinstance(value, Sequence):
        return [value] * num_layers
    checks.repeats(owner, num_layers, **{f"model.{name}": value})
    return [value[layer % len(value)] for layer in range(num_layers)]
