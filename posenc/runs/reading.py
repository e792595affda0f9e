"""Reads records that anybody may have written, as plain values. No code in them is run, and time is limited.

A file is refused if it is not regular, if it is larger or deeper than any record of posenc, or if it is slow to read.
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

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast if libyaml is installed
JSON, YAML, CONFIG, TABLE = 2 * 2**20, 2**20, 2**18, 64 * 2**20
"""Upper limits, in bytes, of each kind of record; posenc's records have a few thousand, long logs a few million."""
MAX_DEPTH = 50
"""Upper limit of the depth of nested lists and mappings; posenc writes six levels."""
MAX_VALUES, MAX_KEYS = 50_000, 1000
"""Upper limits of the values of a YAML file, and of one mapping: numbers can be chosen so that their hashes collide."""
MAX_DIGITS = 10_000
"""Upper limit of the characters of a number; the time to read YAML's 1:1:1:... grows with the square of its length."""
MAX_ROWS, MAX_COLUMNS = 1_000_000, 10_000
"""Upper limits of the rows and columns of a CSV file."""
NAME_LIMIT = 100
"""Upper limit of the characters of a name in a figure or a table."""


def read_json(path: Path, limit: int = JSON) -> Any:
    """The content of a JSON file. Raises OSError, or ValueError if it is no record or has more than `limit` bytes."""
    text = read_bytes(path, limit).decode("utf-8")
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
    """The plain values of a YAML file. Raises OSError, or ValueError if it is no record or a tag in it names code."""
    return _yaml(read_bytes(path, YAML).decode("utf-8"))


def _yaml(text: str) -> Any:
    try:
        _measure(text)
        return yaml.load(text, LOADER)
    except _TooLarge:
        raise
    except Exception as error:  # the safe loader raises many types of errors
        raise ValueError("it is no YAML of plain values") from error


class _TooLarge(ValueError):
    """The YAML expands to more values than a record has."""


def _measure(text: str) -> None:
    """Raise an error for YAML that would be large or slow to build, before it is built.

    posenc writes no tags, aliases or merges (<<). With each of them ten lines can expand to billions of values.
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
            raise _TooLarge("it contains aliases or tags, which no record does")
        if isinstance(event, yaml.ScalarEvent) and event.implicit[0]:
            if event.value == "<<":
                raise _TooLarge("it contains a merge of mappings, which no record does")
            if len(event.value) > MAX_DIGITS and event.value[0] in "+-0123456789":
                raise _TooLarge("it contains a number that is too long")


def read_config(path: Path) -> DictConfig:
    """The record of a config, with today's names of classes. Raises OSError, or ValueError if it is no such record.

    The record must be resolved. An interpolation would be resolved here, with values of this machine.
    """
    text = read_bytes(path, CONFIG).decode("utf-8")
    found = _yaml(text)
    if not isinstance(found, dict):
        raise ValueError("it is no group of options")
    if "${" in json.dumps(found, default=str, skipkeys=True):
        raise ValueError("it is not resolved: it contains ${")
    try:
        plain = OmegaConf.to_container(OmegaConf.create(text))
        return cast(DictConfig, OmegaConf.create(renamed(plain, now)))
    except Exception as error:  # for keys and values that YAML allows and a config does not
        raise ValueError("it is no config") from error


def read_table(path: Path, limit: int = TABLE) -> bytes:
    """The bytes of a CSV file. Raises OSError, or ValueError if it has too many bytes, rows or columns."""
    data = read_bytes(path, limit)
    head = io.BytesIO(data).readline()
    if data.count(b"\n") > MAX_ROWS or head.count(b",") >= MAX_COLUMNS:
        raise ValueError(f"it has more than {MAX_ROWS:,} rows or {MAX_COLUMNS:,} columns")
    return data


def plain_text(value: Any) -> Any:
    """The same values with strings (also keys) that a terminal, a page or a figure can show in one line.

    Characters that cannot be printed are written as in Python's repr: escape sequences, marks for the direction of
    writing, incomplete characters.
    """
    if isinstance(value, str):
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in " ".join(value.split()))
    if isinstance(value, Mapping):
        return {plain_text(key): plain_text(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [plain_text(child) for child in value]
    return value


def short(name: str) -> str:
    """A name that fits into a figure. A long name is cut, and ends with its checksum, so that names stay different."""
    if len(name) <= NAME_LIMIT:
        return name
    mark = hashlib.blake2b(name.encode("utf-8", "backslashreplace"), digest_size=4).hexdigest()
    return f"{name[: NAME_LIMIT - 9]}…{mark}"
