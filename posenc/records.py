"""Files of a folder that anybody may have written, read as plain values: nothing is run, nothing is endless."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml
from omegaconf import DictConfig, OmegaConf

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where libyaml is there
LARGEST = 64 * 2**20
"""Bytes of a record; those of posenc have some thousand."""
MOST = 200_000
"""Values of a record, each alias counted as often as it is used: ten lines of YAML can stand for billions."""
NAME_LIMIT = 100
"""Characters of a name in a figure or a table."""


def read_json(path: Path) -> Any:
    """A JSON file. Raises OSError, or ValueError for what is no record."""
    try:
        return json.loads(read_text(path))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_yaml(path: Path) -> Any:
    """A YAML file of plain values. Raises OSError, or ValueError for what is no record, a tag that names code too."""
    text = read_text(path)
    try:
        found = yaml.load(text, LOADER)
        _size(found, {})
    except Exception as error:  # the safe loader raises half a dozen types for what it does not understand
        raise ValueError("it is no YAML of plain values") from error
    return found


def read_config(path: Path) -> DictConfig:
    """The record of a config. Raises OSError, or ValueError for what is none.

    It was resolved when it was written. One that is not would be resolved here, with what this machine knows.
    """
    found = read_yaml(path)
    if not isinstance(found, dict):
        raise ValueError("it is no group of options")
    if "${" in json.dumps(found, default=str, skipkeys=True):
        raise ValueError("it is not resolved: it holds ${")
    try:
        return cast(DictConfig, OmegaConf.load(path))
    except Exception as error:  # keys and values that YAML knows and a config does not
        raise ValueError("it is no config") from error


def read_text(path: Path) -> str:
    """The text of a record. Raises OSError, or ValueError for what is no record."""
    if path.exists() and not path.is_file():
        raise ValueError("it is no file")  # a pipe or a device might never end
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ValueError("it is too large for a record")
    return data.decode("utf-8")


def _size(value: Any, known: dict[int, int]) -> int:
    """The number of values, written out; what is inside itself is met while its size is not known."""
    if not isinstance(value, dict | list):
        return 1
    size = known.get(id(value))
    if size is None:
        known[id(value)] = MOST + 1
        size = 1 + sum(_size(child, known) for child in (value.values() if isinstance(value, dict) else value))
        known[id(value)] = size
    if size > MOST:
        raise ValueError("it is too large for a record")
    return size


def plain_text(value: Any) -> Any:
    """The same values with strings, keys included, that a terminal, a page or a figure shows as they are, in one line.

    What cannot be printed (escape sequences, marks that turn the direction of writing, halves of characters) is
    written as in Python's repr.
    """
    if isinstance(value, str):
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in " ".join(value.split()))
    if isinstance(value, Mapping):
        return {plain_text(key): plain_text(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [plain_text(child) for child in value]
    return value


def short(name: str) -> str:
    """A name that fits into a figure; a long one keeps its beginning, and a mark that tells it from others."""
    if len(name) <= NAME_LIMIT:
        return name
    mark = hashlib.blake2b(name.encode("utf-8", "backslashreplace"), digest_size=4).hexdigest()
    return f"{name[: NAME_LIMIT - 9]}…{mark}"
