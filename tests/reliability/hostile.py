"""Small files that would keep a reader busy for ever, or fill the memory: each is refused in one sentence.

python -m tests.reliability.hostile --mutants 20000

A file may cost 5 seconds of processor time and 200 MB: the system ends the process that takes more time, after the
name of the file.
"""

import argparse
import io
import os
import pickletools
import random
import resource
import signal
import struct
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from copy import copy
from pathlib import Path
from typing import Any

import torch

from posenc.runs import reading
from posenc.statistics.measurements import Measurements
from posenc.studies.method.workers import Ledger
from posenc.trained.exported import read_weights
from posenc.training.checkpoint_file import Damaged, read
from posenc.training.loggers.metrics_file import MetricsFile

SECONDS, BYTES = 5, 200 * 2**20


def archive(pickled: bytes, number: bytes = b"\0" * 4) -> bytes:
    """A checkpoint as torch.save writes it, with this pickle and a storage `0`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in {"data.pkl": pickled, "byteorder": b"little", "version": b"3\n", "data/0": number}.items():
            file.writestr(f"x/{name}", content)
    return buffer.getvalue()


def word(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def whole(number: int) -> bytes:
    return b"\x8a\x0c" + number.to_bytes(12, "little")


def tensor(there: int, size: int, stride: int) -> bytes:
    """The call that makes a tensor of so many float32 of a storage that should have so many."""
    storage = b"(" + word("storage") + b"ctorch\nFloatStorage\n" + word("0") + word("cpu") + whole(there) + b"tQ"
    shape = whole(size) + b"\x85" + whole(stride) + b"\x85"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\0" + shape + b"\x89ccollections\nOrderedDict\n)RtR"


def state(value: bytes) -> bytes:
    """The pickle of {"state_dict": value}."""
    return b"\x80\x02}" + word("state_dict") + value + b"s."


def pickles() -> Iterator[tuple[str, bytes]]:
    """(what, pickle)."""
    nested = b")q\0" + b"0h\0h\0\x86q\0" * 60  # of each tuple two, in the next
    yield "a key of 60 nested tuples", state(b"}" + nested + b"Ns")
    yield "60 nested tuples", state(nested)
    yield "60 nested lists", state(b"]q\0" + b"0](h\0h\0eq\0" * 60)
    colliding = b"".join(whole(k * (2**61 - 1)) + b"N" for k in range(1, 60_000))
    yield "keys that collide", state(b"}(" + colliding + b"u")
    yield "a set of what collides", state(b"c__builtin__\nset\n](" + colliding.replace(b"N", b"") + b"e\x85R")
    yield "six gigabytes of zeros", state(b"c__builtin__\nbytearray\n" + whole(6 * 10**9) + b"\x85R")
    yield "an encoding that takes long", state(b"c_codecs\nencode\n" + word("a" * 400_000) + word("idna") + b"\x86R")
    yield "a storage of more than is there", state(tensor(2**40, 2**40, 1))
    yield "a tensor of more than is there", state(tensor(1, 2**40, 0))
    yield "a tensor of 100,000 axes", state(tensor(1, 1, 1).replace(whole(1) + b"\x85", b"(" + b"K\1" * 100_000 + b"t"))
    yield "three million empty lists", state(b"](" + b"]" * 3_000_000 + b"e")
    yield "a hundred thousand levels", state(b"]" * 100_000 + b"a" * 99_999)
    yield "a mapping that holds itself", state(b"}q\0" + word("a") + b"h\0s")
    yield "a name of control characters", state(b"c\x1b[2J\nx\n)R")


def archives() -> Iterator[tuple[str, bytes]]:
    """(what, file)."""
    for what, pickled in pickles():
        yield what, archive(pickled)
    for what, name in (("a deflated pickle", "x/data.pkl"), ("a deflated storage", "x/data/0")):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
            if name != "x/data.pkl":
                file.writestr("x/data.pkl", state(b"}"))
            with file.open(name, "w") as member:
                for _ in range(250):
                    member.write(b"\0" * 2**20)
        yield what, buffer.getvalue()
    for what, copies, size in (("members on top of each other", 400, 2**20), ("60,000 members", 60_000, 0)):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as file:
            file.writestr("x/data.pkl", state(b"}"))
            file.writestr("x/data/0", b"\0" * size)
            for k in range(1, copies):
                more = copy(file.filelist[1])
                more.filename = f"x/data/{k}"
                file.filelist.append(more)
        yield what, buffer.getvalue()


def tensors() -> Iterator[tuple[str, bytes]]:
    """(what, file) of safetensors: eight bytes say how long the JSON is that says what follows."""

    def file(head: str, size: int | None = None, body: bytes = b"\0" * 4) -> bytes:
        return struct.pack("<Q", len(head) if size is None else size) + head.encode() + body

    def one(kind: str, shape: str, end: int) -> str:
        return f'"dtype": "{kind}", "shape": {shape}, "data_offsets": [0, {end}]'

    yield "a head of more than is there", file("{}", 2**63)
    yield "many levels", file("[" * 3_000_000)
    yield "many tensors", file("{" + ", ".join(f'"{k}": {{{one("F32", "[0]", 0)}}}' for k in range(100_000)) + "}")
    yield "a tensor of more than is there", file(f'{{"a": {{{one("F32", f"[{2**40}]", 2**42)}}}}}')
    yield "a size that overflows", file(f'{{"a": {{{one("F32", f"[{2**62}, 16]", 4)}}}}}')
    yield "tensors on top of each other", file(f'{{"a": {{{one("F32", "[1]", 4)}}}, "b": {{{one("F32", "[1]", 4)}}}}}')
    yield "numbers that nobody knows", file('{"a": {' + one("\x1b[2J", "[1]", 4) + "}}")
    yield "a pickle", b"\x80\x02}q\0."


def texts() -> Iterator[tuple[str, str, str]]:
    """(the reader, what, file)."""
    colliding = "".join(f"{k * (2**61 - 1)}: 0\n" for k in range(1, 40_000))
    merged = "a0: &a0 {x: 0, y: 0}\n" + "".join(
        f"a{k}: &a{k} {{<<: [{', '.join([f'*a{k - 1}'] * 10)}]}}\n" for k in range(1, 9)
    )
    for name in ("yaml", "config"):
        yield name, "merges of merges", merged
        yield name, "keys that collide", colliding
        yield name, "a number of base 60", "a: " + "59:" * 80_000 + "59"
        yield name, "many levels", "a: " + "[" * 100_000
        yield name, "many values", "a: [" + "[]," * 80_000 + "]"
        yield name, "control characters", "a: \x1b[2J"
    yield "yaml", "one long line", "a: " + "x" * 2_000_000
    yield "json", "many levels", "[" * 100_000
    yield "json", "sixty levels", "[" * 60 + "]" * 60
    yield "json", "many lists", "[" + "[]," * 1_000_000 + "[]]"
    yield "table", "many columns", "a," * 1_000_000 + "\n"
    yield "table", "many rows", "a,b\n" * 1_100_000
    yield "study", "no bytes", ""
    yield "study", "control characters", "quantity,arm,at,seed,value\na,\x1b[2J,0,0,1\n"
    yield "study", "a row twice", "quantity,arm,at,seed,value\n" + "a,b,0,0,1\n" * 2
    yield "study", "another head", "x" * 1_000_000
    yield "ledger", "another study", "5\n" * 100
    yield "ledger", "many lines", '"this"\n' + "[[[[]]]]\n" * 500_000


READERS: dict[str, Callable[[Path], Any]] = {
    "yaml": reading.read_yaml,
    "config": reading.read_config,
    "json": reading.read_json,
    "table": reading.read_table,
    "study": lambda path: Measurements.read(reading.read_table(path).decode()),
    "ledger": lambda path: Ledger.open(path, "this") or refuse(),
    "metrics": lambda path: MetricsFile(str(path.parent)).begin(1),
    "checkpoint": lambda path: read(path, 10**8),
    "weights": lambda path: read_weights(path, 10**7),
}


def refuse() -> None:
    """As posenc.studies.method.conduct does with a ledger of another study."""
    raise ValueError("another study")


def kinds(folder: Path) -> Iterator[tuple[str, Path]]:
    """(what, path) of what is no file, or one without end."""
    places = {what: folder / what / "metrics.csv" for what in ("pipe", "link", "device", "folder", "sparse file")}
    for place in places.values():
        place.parent.mkdir()
    os.mkfifo(places["pipe"])
    (folder / "precious").write_text("{}")
    places["link"].symlink_to(folder / "precious")
    places["device"].symlink_to("/dev/zero")
    places["folder"].mkdir()
    with places["sparse file"].open("wb") as file:
        file.truncate(900_000_000)
    yield from places.items()


def mutants(number: int) -> Iterator[tuple[str, bytes]]:
    """Checkpoints whose pickle, or archive, is changed in a few places; most of them make no sense."""
    buffer = io.BytesIO()
    some = torch.arange(6.0).reshape(2, 3)
    torch.save({"state_dict": {"a": some, "b": some.t()}, "x": [1, (2, 2.5), {3: None}, {4}], "y": some.bool()}, buffer)
    with zipfile.ZipFile(buffer) as file:
        (pickled,) = (file.read(name) for name in file.namelist() if name.endswith("data.pkl"))
    codes = [code.code.encode("latin1") for code in pickletools.opcodes]
    for seed in range(number):
        chance = random.Random(seed)
        data = bytearray(pickled if seed % 4 else buffer.getvalue())
        for _ in range(chance.randrange(1, 6)):
            start = chance.randrange(len(data))
            end = start + chance.randrange(0, 4)
            other = chance.randrange(len(data))
            new = chance.choice([chance.randbytes(end - start), chance.choice(codes), data[other : other + 20], b""])
            data[start:end] = new
        yield f"mutant {seed}", archive(bytes(data), some.numpy().tobytes()) if seed % 4 else bytes(data)


def tried(attempt: Callable[[], Any], may_pass: bool = False) -> str:
    """What is wrong with the answer, if anything is."""
    try:
        attempt()
    except (Damaged, ValueError) as error:
        said = str(error)
        return "" if said and said.isprintable() and len(said) < 400 else f"said {said[:200]!r}"
    except BaseException as error:
        return f"raised {type(error).__name__}: {str(error)[:200]}"
    return "" if may_pass else "let in"


def main(words: list[str] | None = None) -> int:
    """Give each file to its reader; status 1 if one was let in or answered otherwise."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.hostile")
    parser.add_argument("--mutants", type=int, default=5000)
    asked = parser.parse_args(words)
    torch.set_num_threads(1)
    read_now = Path("/proc/self/statm").read_text().split()[0]
    size = int(read_now) * resource.getpagesize()
    wrong, number = [], 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "file"

        def judge(what: str, attempt: Callable[[], Any], may_pass: bool = False) -> None:
            nonlocal number
            number += 1
            print(what, file=sys.stderr, flush=True)
            resource.setrlimit(resource.RLIMIT_AS, (size + BYTES, resource.RLIM_INFINITY))
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            found = tried(attempt, may_pass)
            signal.setitimer(signal.ITIMER_PROF, 0)
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            if found:
                wrong.append(f"{what}: {found}")

        for what, place in kinds(folder):
            for name, reader in READERS.items():
                judge(f"{name}: {what}", lambda reader=reader, place=place: reader(place))
        for name, what, text in texts():
            path.write_text(text)
            judge(f"{name}: {what}", lambda name=name: READERS[name](path))
        for what, data in archives():
            path.write_bytes(data)
            judge(f"checkpoint: {what}", lambda: READERS["checkpoint"](path))
        for what, data in tensors():
            path.write_bytes(data)
            judge(f"weights: {what}", lambda: READERS["weights"](path))
        for what, data in mutants(asked.mutants):
            path.write_bytes(data)
            judge(what, lambda: READERS["checkpoint"](path), may_pass=True)
    print(f"{number - len(wrong)} of {number} refused, or read as plain values")
    print(*wrong, sep="\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
