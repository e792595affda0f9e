"""Writes files completely or not at all, and never through a link."""

import io
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

from posenc.checks import ConfigError
from posenc.runs.files import link_above, open_file

UNFINISHED_SUFFIX = ".part"
"""The end of the name of a file while it is written. Afterwards the file is renamed."""


def write_text(path: Path, text: str) -> None:
    """Write a file completely or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file completely or not at all. If several processes write it at once, the last content stays.

    A link with this name is replaced, not followed. Raises ConfigError if a folder of posenc above it is a link.
    """
    above = link_above(path)
    if above is not None:
        raise ConfigError(f"{above} is a link to another folder; remove it, or choose another folder.")
    path.parent.mkdir(exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{UNFINISHED_SUFFIX}")
    try:
        with os.fdopen(open_file(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with suppress(OSError):  # an incomplete file is useless
            part.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
    flush_folder(path.parent)


def clear_parts(folder: Path) -> None:
    """Remove incomplete files of killed processes."""
    for part in folder.glob(f".*-*{UNFINISHED_SUFFIX}"):
        process = part.name.rpartition("-")[0].rpartition(".")[2]
        if process.isdecimal() and not _lives(int(process)):
            with suppress(OSError):
                part.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def write_picture(path: Path, figure: Any, **how: Any) -> None:
    """Write a matplotlib figure completely or not at all. The ending of the name gives the file format.

    how  options of savefig, such as dpi

    savefig alone would write through a link.
    """
    ending, data = path.suffix[1:].lower(), io.BytesIO()
    if ending not in figure.canvas.get_supported_filetypes():
        raise ConfigError(f"{path} cannot be written as a figure; choose a name that ends in .png or .svg.")
    figure.savefig(data, format=ending, **how)
    write_bytes(path, data.getvalue())


def flush_folder(folder: Path) -> None:
    """Flush renamings in a folder to the disk, if the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
