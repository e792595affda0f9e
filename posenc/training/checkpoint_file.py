"""Checkpoint files: written whole or not at all, and read only where every bit is as it was written."""

import hashlib
import io
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO

from posenc.runs.files import read_bytes, read_end
from posenc.runs.reading import plain_text
from posenc.runs.writing import write_bytes
from posenc.training import unpickle

MARK, DIGITS = b"blake2b:", 64
END, ENTRY = b"PK\5\6", b"PK\1\2"
MEMBERS = 50_000
"""Of an archive; there is one for each tensor, and a few besides."""
SLACK, STATES = 32 * 2**20, 16
MAX_REASON = 120
"""Upper limit of the characters that are shown of an error of another library."""


class Damaged(ValueError):
    """A file that is no whole checkpoint."""


def seal(archive: bytes) -> bytes:
    """A zip archive whose comment is the BLAKE2b digest of all before it: every flipped bit shows.

    torch reads such a file like any other; alone it would notice a cut-off end, but no flipped bit in a weight.
    """
    assert archive.endswith(b"\0\0"), "an archive that has a comment already"
    body = archive[:-2] + struct.pack("<H", len(MARK) + DIGITS) + MARK
    return body + hashlib.blake2b(body, digest_size=DIGITS // 2).hexdigest().encode()


def limit(module: torch.nn.Module) -> int:
    """Bytes that a checkpoint of `module` may have: its weights, what an optimizer keeps of each, and what is beside.

    SLACK + STATES · (bytes of the weights); AdamW keeps two numbers a weight, others up to a matrix a row.
    """
    tensors = [each for each in module.state_dict().values() if isinstance(each, torch.Tensor)]
    return SLACK + STATES * sum(each.numel() * each.element_size() for each in tensors)


def read(path: Path, most: int = sys.maxsize, *, follow: bool = False) -> dict[str, Any]:
    """What a checkpoint of at most so many bytes holds: plain values and tensors (see unpickle.py). Raises Damaged.

    A file without the digest of `seal`, as torch.save writes it, passes by the checksums of its own members.

    follow  a link, because a user named it
    """
    try:
        if END not in read_end(path, len(END) + 18 + len(MARK) + DIGITS, follow=follow):  # before all of it is read
            raise Damaged("it is no archive of torch.save, or its end is cut off")
        data = read_bytes(path, most, follow=follow)
        body, digest = memoryview(data)[:-DIGITS], data[-DIGITS:]
        if body[-len(MARK) :] == MARK and hashlib.blake2b(body, digest_size=DIGITS // 2).hexdigest().encode() != digest:
            raise Damaged("its digest is another")
        members = _members(data)
        state = unpickle.load(members.pop("data.pkl"), _storages(members))
    except (Damaged, OSError):
        raise
    except Exception as error:  # zipfile and torch raise a dozen types for the many ways a file can be broken
        said = plain_text((str(error).splitlines() or [""])[0])
        known = isinstance(error, ValueError) or type(error).__module__ == "zipfile"
        raise Damaged(said[:MAX_REASON] if known and said else "its pickle makes no sense") from error
    if not isinstance(state, dict):
        raise Damaged(f"it holds a {type(state).__name__}")
    return state


def _members(data: bytes) -> dict[str, bytes]:
    """{name below the folder that torch makes: content} of an archive, none of which is larger than it is there."""
    if data.count(ENTRY) > MEMBERS:
        raise Damaged(f"it has more than {MEMBERS:,} members")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        found = archive.infolist()
        end = len(data) - len(archive.comment)
        if data[end - 2 : end] != struct.pack("<H", len(archive.comment)):  # zipfile takes what is there of a comment
            raise Damaged("its end is cut off")
        if archive.comment and archive.comment[: len(MARK)] != MARK:
            raise Damaged("its checksums are others")
        if any(each.compress_type != zipfile.ZIP_STORED or each.compress_size != each.file_size for each in found):
            raise Damaged("a member of it is compressed, as no checkpoint's is")
        if sum(each.file_size for each in found) > len(data) or len({each.filename for each in found}) < len(found):
            raise Damaged("members of it overlap")
        members = {each.filename.partition("/")[2]: archive.read(each) for each in found}
    if "data.pkl" not in members or len(members) < len(found):
        raise Damaged("it is no archive of torch.save")
    if members.get("byteorder", sys.byteorder.encode()) != sys.byteorder.encode():
        raise Damaged("it was written on a machine with another order of bytes")
    return members


def _storages(members: dict[str, bytes]) -> dict[str, bytes]:
    return {name.removeprefix("data/"): content for name, content in members.items() if name.startswith("data/")}


class DurableFiles(CheckpointIO):
    """Writes a checkpoint beside its place, flushes it to the disk, renames it; reads none that is not whole."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Whole or not at all."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_bytes(Path(path), seal(buffer.getvalue()))

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        """What `read` returns; the file was held to `limit` before (posenc.training.checkpoints)."""
        return read(Path(path), follow=True)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove one that is there."""
        Path(path).unlink(missing_ok=True)
