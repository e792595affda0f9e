"""Checkpoint files: written whole or not at all, and read only where every bit is as it was written."""

import hashlib
import io
import struct
import warnings
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO

from posenc import runs

MARK, DIGITS = b"blake2b:", 64


class Damaged(ValueError):
    """A file that is no whole checkpoint."""


def seal(archive: bytes) -> bytes:
    """A zip archive whose comment is the BLAKE2b digest of all before it: every flipped bit shows.

    torch reads such a file like any other; alone it would notice a cut-off end, but no flipped bit in a weight.
    """
    assert archive.endswith(b"\0\0"), "an archive that has a comment already"
    body = archive[:-2] + struct.pack("<H", len(MARK) + DIGITS) + MARK
    return body + hashlib.blake2b(body, digest_size=DIGITS // 2).hexdigest().encode()


def read(path: Path) -> dict[str, Any]:
    """What a checkpoint holds; nothing but plain values and tensors is unpickled. Raises Damaged.

    A file without the digest of `seal`, as torch.save writes it, passes by the checksums of its own members.
    """
    data = path.read_bytes()
    body, digest = data[:-DIGITS], data[-DIGITS:]
    try:
        if body.endswith(MARK):
            if hashlib.blake2b(body, digest_size=DIGITS // 2).hexdigest().encode() != digest:
                raise Damaged("its digest is another")
        else:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                if archive.comment or archive.testzip() is not None:
                    raise Damaged("its checksums are others")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the pickles of others
            state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Damaged:
        raise
    except UnpicklingError as error:  # torch's words advise to unpickle it all the same
        raise Damaged("it is no pickle of plain values and tensors; nothing in it was run") from error
    except Exception as error:  # zipfile and torch raise a dozen types for the many ways a file can be broken
        raise Damaged((str(error).splitlines() or [type(error).__name__])[0]) from error
    if not isinstance(state, dict):
        raise Damaged(f"it holds a {type(state).__name__}")
    return state


class DurableFiles(CheckpointIO):
    """Writes a checkpoint beside its place, flushes it to the disk, renames it; reads none that is not whole."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Whole or not at all."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        runs.write_bytes(Path(path), seal(buffer.getvalue()))

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        """What `read` returns."""
        return read(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove one that is there."""
        Path(path).unlink(missing_ok=True)
