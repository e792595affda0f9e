"""How an encoding is written into a model's config, and its weights into the model's files."""

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
"""Of the attention implementation, of the encodings in the model and of their description in its config."""


def describe(encoding: PositionalEncoding) -> dict[str, Any]:
    """The name of its class and its arguments, which it keeps as attributes; those of the parts of a mixture too."""
    names = inspect.signature(type(encoding).__init__).parameters
    given = {name: getattr(encoding, name) for name in names if name not in ("self", "parts")}
    if isinstance(encoding, Mixture):
        given["parts"] = {name: describe(part) for name, part in zip(encoding.parts, encoding.each, strict=True)}
    return {"class": type(encoding).__name__, **given}


def described(description: dict[str, Any]) -> PositionalEncoding:
    """The encoding of posenc that was described so. Raises ConfigError for another."""
    given = dict(description)
    kind = getattr(posenc.encodings, given.pop("class"), None)
    kind = PositionalEncoding if description["class"] == PositionalEncoding.__name__ else kind
    if kind is None:
        raise ConfigError(f"posenc has no encoding {description['class']}; load(folder, encoding=...) takes your own.")
    if "parts" in given:
        given["parts"] = {name: described(part) for name, part in given["parts"].items()}
    return kind(**given)


@contextmanager
def known_keys(kind: Any) -> Iterator[None]:
    """Inside, transformers does not report the encoding's weights as such that it does not expect."""
    before = kind._keys_to_ignore_on_load_unexpected
    kind._keys_to_ignore_on_load_unexpected = [*(before or ()), rf"(^|\.){NAME}\."]
    try:
        yield
    finally:
        kind._keys_to_ignore_on_load_unexpected = before


def _twins(encodings: nn.Module) -> dict[str, str]:
    """Names of parameters that layers share, each with the first name of the same."""
    first: dict[int, str] = {}
    named = ((name, first.setdefault(id(p), name)) for name, p in encodings.named_parameters(remove_duplicate=False))
    return {name: own for name, own in named if name != own}


def name_once(encodings: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    """A hook of state_dict: safetensors holds no tensor twice."""
    for name in _twins(encodings):
        state.pop(prefix + name, None)


def name_again(encodings: nn.Module, state: dict[str, Any], prefix: str, *more: Any) -> None:
    """A hook of load_state_dict."""
    for name, own in _twins(encodings).items():
        if prefix + own in state:
            state[prefix + name] = state[prefix + own]
