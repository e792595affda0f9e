"""Stores an encoding in a model's config, and its weights in the model's files."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

import posenc.encodings
from posenc.checks import ConfigError
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.mixture import Mixture

NAME = "posenc"
"""The name of the attention implementation, of the module of encodings, and of their description in the config."""


def describe(encoding: PositionalEncoding) -> dict[str, Any]:
    """The name of an encoding's class, and its arguments, which are its attributes; for a mixture also its parts."""
    names = inspect.signature(type(encoding).__init__).parameters
    given = {name: getattr(encoding, name) for name in names if name not in ("self", "parts")}
    if isinstance(encoding, Mixture):
        given["parts"] = {name: describe(part) for name, part in zip(encoding.parts, encoding.each, strict=True)}
    return {"class": type(encoding).__name__, **given}


def described(description: dict[str, Any]) -> PositionalEncoding:
    """The encoding that `describe` described. Raises ConfigError if it is none of posenc's."""
    given = dict(description)
    kind = getattr(posenc.encodings, given.pop("class"), None)
    kind = PositionalEncoding if description["class"] == PositionalEncoding.__name__ else kind
    if kind is None:
        raise ConfigError(f"posenc has no encoding {description['class']}; pass it as load(folder, encoding=...).")
    if "parts" in given:
        given["parts"] = {name: described(part) for name, part in given["parts"].items()}
    return kind(**given)


@contextmanager
def known_keys(kind: Any) -> Iterator[None]:
    """Inside, transformers does not report the encoding's weights as unexpected."""
    before = kind._keys_to_ignore_on_load_unexpected
    kind._keys_to_ignore_on_load_unexpected = [*(before or ()), rf"(^|\.){NAME}\."]
    try:
        yield
    finally:
        kind._keys_to_ignore_on_load_unexpected = before


def _twins(encodings: nn.Module) -> dict[str, str]:
    """{other name: first name} of the parameters that layers share, and that therefore have several names."""
    first: dict[int, str] = {}
    named = ((name, first.setdefault(id(p), name)) for name, p in encodings.named_parameters(remove_duplicate=False))
    return {name: own for name, own in named if name != own}


def name_once(encodings: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    """A hook of state_dict, which removes repeated parameters, because safetensors refuses to save a tensor twice."""
    for name in _twins(encodings):
        state.pop(prefix + name, None)


def name_again(encodings: nn.Module, state: dict[str, Any], prefix: str, *more: Any) -> None:
    """A hook of load_state_dict, which restores repeated parameters."""
    for name, own in _twins(encodings).items():
        if prefix + own in state:
            state[prefix + name] = state[prefix + own]
