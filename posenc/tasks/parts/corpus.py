"""The files that a task reads, and their digest. Needs no torch, so that finished runs are recognised quickly."""

import hashlib
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.utils import to_absolute_path

from posenc.checks import ConfigError
from posenc.runs.files import read_bytes

MAX_BYTES = 2**30
"""Upper limit of a corpus, in bytes."""
ASIDE = {"site-packages", "dist-packages", "test", "tests", "idlelib", "idle_test", "turtledemo"}
"""Folders of the standard library that are left out."""

IDS = ("uint16", "uint32")
TOKENIZERS = ("bytes", "bpe", *IDS)
"""The values of `dataset.tokenizer`, besides the path of a tokenizer.json."""
ID_FILES = {"train": "train.bin", "validation": "val.bin", "test": "test.bin"}
END = 2**20
"""The digest of a file of ids includes this many bytes at each end."""
RULE = b"near copies in one split"
"""The rule by which posenc.tasks.text divides files. The digest includes it, because another rule gives other data."""


def read(path: Any, skipped: list[str] | None = None) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of each file, sorted by name.

    path     a file; a folder, of which the UTF-8 files that are not empty are read; None: the source files of the
             standard library of the Python that runs posenc, which depend on the version of Python
    skipped  a list, to which the names of unreadable files, and of files that are not UTF-8, are added

    A relative path starts at the folder of the command. Raises ConfigError if there is nothing to read.
    """
    if path is None:
        root = Path(sysconfig.get_path("stdlib"))
        found = sorted(file for file in root.rglob("*.py") if not ASIDE & set(file.relative_to(root).parts))
    else:
        if not isinstance(path, str) or not path:
            raise ConfigError(f"dataset.path must be a file, a folder or null, got {path!r}.")
        root = Path(to_absolute_path(str(Path(path).expanduser())))
        if root.is_file():
            yield root.name, _content(root, MAX_BYTES, root)
            return
        if not root.is_dir():
            raise ConfigError(f"dataset.path={path} is neither a file nor a folder.")
        found = sorted(file for file in root.rglob("*") if file.is_file())
    room = MAX_BYTES
    for file in found:
        name = file.relative_to(root).as_posix()
        try:
            data = _content(file, room, root)
            data.decode()
        except (OSError, UnicodeDecodeError):
            if skipped is not None:
                skipped.append(name)
            continue
        if data:
            room -= len(data)
            yield name, data
    if room == MAX_BYTES:
        raise ConfigError(f"no text was found in {root}; give a file or a folder with UTF-8 files.")


def _content(file: Path, room: int, root: Path) -> bytes:
    try:
        return read_bytes(file, room, follow=True)
    except ValueError as error:
        raise ConfigError(
            f"dataset.path: {root} has more than {MAX_BYTES:,} bytes, and posenc keeps a corpus in memory; give a "
            "part of it."
        ) from error


def id_files(path: Any) -> dict[str, Path]:
    """{split: file} of train.bin, val.bin and any test.bin. Raises ConfigError if train.bin or val.bin is missing."""
    root = Path(to_absolute_path(str(Path(str(path)).expanduser())))
    files = {name: root / file for name, file in ID_FILES.items() if (root / file).is_file()}
    if path is None or not files.keys() >= {"train", "validation"}:
        raise ConfigError(
            f"dataset.path={'null' if path is None else path} must be a folder with train.bin and val.bin."
        )
    return files


def tokenizer_file(path: Any) -> bytes:
    """The content of a tokenizer.json. Raises ConfigError if it cannot be read."""
    if not isinstance(path, str) or not path:
        raise ConfigError(
            f"dataset.tokenizer must be {', '.join(TOKENIZERS)} or the path of a tokenizer.json, got {path!r}."
        )
    try:
        return read_bytes(Path(to_absolute_path(str(Path(path).expanduser()))), MAX_BYTES, follow=True)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"dataset.tokenizer={path} is none of {', '.join(TOKENIZERS)}, and is no readable file: {error}"
        ) from error


def digest(path: Any, tokenizer: Any = "bytes") -> str:
    """The digest of the files at `path` and of the tokenizer's file.

    Files of ids may be too large to read, so their digest includes only their sizes and both ends.
    """
    if tokenizer in IDS:
        return digest_of(
            ("/".join((name, *map(str, ends))), b"") for name, *ends in map(_ends, id_files(path).values())
        )
    return digest_of(read(path), tokenizer)


def _ends(file: Path) -> tuple[str, int, str]:
    size = file.stat().st_size
    with file.open("rb") as data:
        state = hashlib.blake2b(data.read(END))
        data.seek(max(0, size - END))
        state.update(data.read(END))
    return file.name, size, state.hexdigest()


def digest_of(files: Iterable[tuple[str, bytes]], tokenizer: Any = "bytes") -> str:
    """16 hexadecimal digits of the names and bytes of all files, of the tokenizer's file, and of `RULE`."""
    state = hashlib.blake2b(RULE)
    for name, data in files:
        state.update(name.encode("utf-8", "surrogateescape") + b"\0" + data)
    if tokenizer not in TOKENIZERS:
        state.update(tokenizer_file(tokenizer))
    return state.hexdigest()[:16]


def data_digest(dataset: Mapping[str, Any]) -> str | None:
    """The digest of the files that a task reads; None if the task has no option `path`."""
    options = {f"dataset.{key}": value for key, value in dataset.items()}
    if "dataset.path" not in options:
        return None
    return digest(options["dataset.path"], options.get("dataset.tokenizer", "bytes"))
