"""Checkpoint files. A file is written completely or not at all, and a file with a changed bit is not read."""

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
"""Upper limit of the members of an archive. It has one member for each tensor, and a few more."""
SLACK, STATES = 32 * 2**20, 16
MAX_REASON = 120
"""Upper limit, in characters, of the part of another library's error message that we show."""


class Damaged(ValueError):
    """The file is not a complete checkpoint."""


def seal(archive: bytes) -> bytes:
    """The zip archive with a comment: the BLAKE2b digest of all bytes before it. So every flipped bit is noticed.

    torch can read such a file. Without the digest it would notice a missing end, but not a flipped bit in a weight.
    """
    assert archive.endswith(b"\0\0"), "an archive that has a comment already"
    body = archive[:-2] + struct.pack("<H", len(MARK) + DIGITS) + MARK
    return body + hashlib.blake2b(body, digest_size=DIGITS // 2).hexdigest().encode()


def limit(module: torch.nn.Module) -> int:
    """Upper limit, in bytes, of a checkpoint of `module`: SLACK + STATES · (bytes of the weights).

    A checkpoint has the weights, the optimizer's state and a few more values. AdamW keeps two numbers for each weight;
    other optimizers keep up to a matrix for each row.
    """
    tensors = [each for each in module.state_dict().values() if isinstance(each, torch.Tensor)]
    return SLACK + STATES * sum(each.numel() * each.element_size() for each in tensors)


def read(path: Path, most: int = sys.maxsize, *, follow: bool = False) -> dict[str, Any]:
    """The plain values and tensors in a checkpoint of at most `most` bytes (see unpickle.py).

    Raises Damaged if the file is larger, or if a bit has changed.
    torch.save writes files without the digest of `seal`. For them the checksums of the archive's members are checked.

    follow  whether to follow a link, which is allowed if a user gave the path
    """
    try:
        if END not in read_end(path, len(END) + 18 + len(MARK) + DIGITS, follow=follow):  # before reading all of it
            raise Damaged("it is no archive of torch.save, or its end is cut off")
        data = read_bytes(path, most, follow=follow)
        body, digest = memoryview(data)[:-DIGITS], data[-DIGITS:]
        if body[-len(MARK) :] == MARK and hashlib.blake2b(body, digest_size=DIGITS // 2).hexdigest().encode() != digest:
            raise Damaged("its digest differs")
        members = _members(data)
        storages = {name.removeprefix("data/"): each for name, each in members.items() if name.startswith("data/")}
        state = unpickle.load(members["data.pkl"], storages)
    except (Damaged, OSError):
        raise
    except Exception as error:  # zipfile and torch raise many types of errors for a damaged file
        said = plain_text((str(error).splitlines() or [""])[0])
        known = isinstance(error, ValueError) or type(error).__module__ == "zipfile"
        raise Damaged(said[:MAX_REASON] if known and said else "its pickle makes no sense") from error
    if not isinstance(state, dict):
        raise Damaged(f"it contains a {type(state).__name__}")
    return state


def _members(data: bytes) -> dict[str, bytes]:
    """{name: content} of an archive. The names are without torch's top folder. No content is larger than it says."""
    if data.count(ENTRY) > MEMBERS:
        raise Damaged(f"it has more than {MEMBERS:,} members")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        found = archive.infolist()
        end = len(data) - len(archive.comment)
        if data[end - 2 : end] != struct.pack("<H", len(archive.comment)):  # zipfile accepts a cut-off comment
            raise Damaged("its end is cut off")
        if archive.comment and archive.comment[: len(MARK)] != MARK:
            raise Damaged("its checksums differ")
        if any(each.compress_type != zipfile.ZIP_STORED or each.compress_size != each.file_size for each in found):
            raise Damaged("a member of it is compressed, unlike in a checkpoint")
        if sum(each.file_size for each in found) > len(data) or len({each.filename for each in found}) < len(found):
            raise Damaged("members of it overlap")
        members = {each.filename.partition("/")[2]: archive.read(each) for each in found}
    if "data.pkl" not in members or len(members) < len(found):
        raise Damaged("it is no archive of torch.save")
    if members.get("byteorder", sys.byteorder.encode()) != sys.byteorder.encode():
        raise Damaged("it was written on a machine with another order of bytes")
    return members


class DurableFiles(CheckpointIO):
    """Writes a checkpoint under another name, flushes it to the disk and renames it. Reads only complete files."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write the file completely or not at all."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_bytes(Path(path), seal(buffer.getvalue()))

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        """The result of `read`. posenc.training.checkpoints has already checked the file's size against `limit`."""
        return read(Path(path), follow=True)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint, if it exists."""
        Path(path).unlink(missing_ok=True)
