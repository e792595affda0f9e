"""Positional encodings, one file each: `from posenc.encodings import LearnedRelativePositionalBias`.

Every class that is defined in a file of this folder can be imported from here. A new file needs no line here.
"""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from posenc.encodings.base import PositionalEncoding


def _classes() -> dict[str, type[PositionalEncoding]]:
    modules = (import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__))
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, PositionalEncoding) and value.__module__ == module.__name__
    }


def __getattr__(name: str) -> Any:
    if not name.startswith("_") and name in (classes := _classes()):
        return classes[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_classes())
