"""Records of a folder that anybody may have written, read as plain values: nothing is run, nothing is endless.

Each is refused where it is no regular file, is larger or deeper than any record of posenc, or would take long to read.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml
from omegaconf import DictConfig, OmegaConf

from posenc.runs.files import read_bytes
from posenc.runs.former import now, renamed

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where libyaml is there
JSON, YAML, CONFIG, TABLE = 2 * 2**20, 2**20, 2**18, 64 * 2**20
"""Bytes of a record of each kind; those of posenc have some thousand, long logs some million."""
MAX_DEPTH = 50
"""Upper limit of lists and mappings inside of each other; posenc writes six."""
MAX_VALUES, MAX_KEYS = 50_000, 1000
"""Values of a YAML file, and of one mapping: keys that are numbers can be chosen to collide, each with all others."""
MAX_DIGITS = 10_000
"""Upper limit of characters in a number; YAML's 1:1:1:... takes time as the square of its length."""
MAX_ROWS, MAX_COLUMNS = 1_000_000, 10_000
"""Upper limits of a CSV file."""
NAME_LIMIT = 100
"""Characters of a name in a figure or a table."""


def read_json(path: Path) -> Any:
    """A JSON file. Raises OSError, or ValueError for what is no record."""
    text = read_bytes(path, JSON).decode("utf-8")
    try:
        found = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    layer = [found]
    for _ in range(MAX_DEPTH):
        layer = [child for each in layer for child in _children(each)]
    if layer:
        raise ValueError("it is nested too deeply")
    return found


def _children(value: Any) -> list[Any]:
    return [*value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []


def read_yaml(path: Path) -> Any:
    """A YAML file of plain values. Raises OSError, or ValueError for what is no record, a tag that names code too."""
    return _yaml(read_bytes(path, YAML).decode("utf-8"))


def _yaml(text: str) -> Any:
    try:
        _measure(text)
        return yaml.load(text, LOADER)
    except _TooLarge:
        raise
    except Exception as error:  # the safe loader raises half a dozen types for what it does not understand
        raise ValueError("it is no YAML of plain values") from error


class _TooLarge(ValueError):
    """YAML that stands for more than a record holds."""


def _measure(text: str) -> None:
    """Refuse what would be large or slow to build, while nothing is built.

    posenc writes neither tags nor aliases nor merges (<<); each can make a file of ten lines stand for billions.
    """
    sizes: list[int] = []
    for number, event in enumerate(yaml.parse(text, LOADER)):
        if number > MAX_VALUES or (sizes and sizes[-1] > 2 * MAX_KEYS):
            raise _TooLarge("it is too large for a record")
        if isinstance(event, yaml.CollectionEndEvent):
            sizes.pop()
            continue
        if not isinstance(event, yaml.NodeEvent):
            continue
        if sizes and sizes[-1] >= 0:
            sizes[-1] += 1
        if isinstance(event, yaml.CollectionStartEvent):
            sizes.append(0 if isinstance(event, yaml.MappingStartEvent) else -1)  # lists have no keys
            if len(sizes) > MAX_DEPTH:
                raise _TooLarge("it is nested too deeply")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None) is not None:
            raise _TooLarge("it holds aliases or tags, which no record does")
        if isinstance(event, yaml.ScalarEvent) and event.implicit[0]:
            if event.value == "<<":
                raise _TooLarge("it holds a merge of mappings, which no record does")
            if len(event.value) > MAX_DIGITS and event.value[0] in "+-0123456789":
                raise _TooLarge("it holds a number that is too long")


def read_config(path: Path) -> DictConfig:
    """The record of a config, its classes under today's names. Raises OSError, or ValueError for what is none.

    It was resolved when it was written. One that is not would be resolved here, with what this machine knows.
    """
    text = read_bytes(path, CONFIG).decode("utf-8")
    found = _yaml(text)
    if not isinstance(found, dict):
        raise ValueError("it is no group of options")
    if "${" in json.dumps(found, default=str, skipkeys=True):
        raise ValueError("it is not resolved: it holds ${")
    try:
        plain = OmegaConf.to_container(OmegaConf.create(text))
        return cast(DictConfig, OmegaConf.create(renamed(plain, now)))
    except Exception as error:  # keys and values that YAML knows and a config does not
        raise ValueError("it is no config") from error


def read_table(path: Path, limit: int = TABLE) -> bytes:
    """The bytes of a CSV file of so many rows and columns as one may have. Raises OSError, or ValueError."""
    data = read_bytes(path, limit)
    head = io.BytesIO(data).readline()
    if data.count(b"\n") > MAX_ROWS or head.count(b",") >= MAX_COLUMNS:
        raise ValueError(f"it has more than {MAX_ROWS:,} rows or {MAX_COLUMNS:,} columns")
    return data


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
