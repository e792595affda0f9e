"""Real text: predict the next byte."""

import copy
import hashlib
import logging
import sysconfig
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

from posenc.checks import ConfigError
from posenc.tasks.base import Task

log = logging.getLogger(__name__)

SHARES = {"test": 0.1, "validation": 0.1, "train": float("inf")}
"""How much of the bytes each split takes, in this order; the last takes the rest."""


class TextDataset(Task):
    """Byte-level language modelling: the target at each place is the next byte.

        bytes    d e f   f ( x ) :      tokens   100 101 102 32 102 40 120 41
                                        targets  101 102 32 102 40 120 41 58

    Windows start at uniformly random places of a split's files, which are joined by a zero byte. `path` is a file (any
    bytes) or a folder (its files that are UTF-8); by default the source files of the Python standard library that runs
    posenc, without its tests. A corpus of three files or more is split by file (in the order of a hash of their names:
    a tenth of the bytes each for test and validation), a smaller one in contiguous parts. The order-blind and
    order-aware ceilings of text are unknown; the entropy of single bytes stands beside the result instead.
    Random guess: 1/256.
    """

    num_outputs = 256

    def __init__(
        self,
        length: int | list[int] = 128,
        test_lengths: list[int] | None = None,
        path: str | None = None,
        causal: bool = True,
        readout: str = "per_token",
    ) -> None:
        super().__init__(length=length, test_lengths=test_lengths, vocab_size=256, causal=causal, readout=readout)
        if not causal:
            raise ConfigError(f"{self}: next-byte prediction needs a causal mask; set dataset.causal=true.")
        files = _read(path)
        self.digest = hashlib.blake2b(b"".join(name.encode() + b"\0" + data for name, data in files)).hexdigest()[:16]
        self._splits = {name: torch.from_numpy(np.frombuffer(data, np.uint8)) for name, data in _split(files).items()}
        longest = max(self.length[1], *self.test_lengths)
        for name, data in self._splits.items():
            if len(data) < longest + 1:
                raise ConfigError(
                    f"{self}: the {name} split of {path or 'the corpus'} has {len(data)} bytes, a window of length "
                    f"{longest} needs {longest + 1}; lower dataset.length or give more text."
                )
        self._bytes = self._splits["train"]

    def split(self, name: str) -> "TextDataset":
        """The same task on the bytes of another split."""
        view = copy.copy(self)
        view._bytes = self._splits[name]
        return view

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        start = torch.randint(len(self._bytes) - length, (batch, 1), generator=generator)
        window = self._bytes[start + torch.arange(length + 1)].long()
        return window[:, :-1], window[:, 1:]

    def references(self) -> dict[str, float]:
        """unigram_bits_per_byte: −Σ f log₂ f over the frequencies of the test bytes; the best without any context."""
        frequency = torch.bincount(self._splits["test"].long(), minlength=256).double() / len(self._splits["test"])
        return {
            "unigram_bits_per_byte": float(-(torch.special.xlogy(frequency, frequency)).sum() / torch.tensor(2).log())
        }


def _read(path: str | None) -> list[tuple[str, bytes]]:
    """(name, bytes) of each file, by name."""
    if path is not None:
        root = Path(path).expanduser()
        if root.is_file():
            return [(root.name, root.read_bytes())]
        if not root.is_dir():
            raise ConfigError(f"TextDataset: dataset.path={path} is neither a file nor a folder.")
        found = sorted(file for file in root.rglob("*") if file.is_file())
    else:
        root = Path(sysconfig.get_path("stdlib"))
        aside = {"site-packages", "dist-packages", "test", "tests", "idlelib", "idle_test", "turtledemo"}
        found = sorted(file for file in root.rglob("*.py") if not aside & set(file.relative_to(root).parts))
    files, skipped = [], []
    for file in found:
        try:
            data = file.read_bytes()
            data.decode()
        except (OSError, UnicodeDecodeError):
            skipped.append(file.relative_to(root).as_posix())
            continue
        if data:
            files.append((file.relative_to(root).as_posix(), data))
    if skipped:
        log.warning(
            "%d of %d files are unreadable or not UTF-8 and were skipped: %s ...", len(skipped), len(found), skipped[0]
        )
    if not files:
        raise ConfigError(f"TextDataset: no text was found in {root}; give a file or a folder with UTF-8 files.")
    return files


def _split(files: list[tuple[str, bytes]]) -> dict[str, bytearray]:
    """Bytes of each split; whole files where there are three or more, else contiguous parts."""
    total = sum(len(data) for _, data in files)
    if len(files) < len(SHARES):
        joined = b"\0".join(data for _, data in files)
        ends = {name: round(len(joined) * end) for name, end in {"train": 0.8, "validation": 0.9, "test": 1.0}.items()}
        starts = [0, *ends.values()]
        return {name: bytearray(joined[start:end]) for start, (name, end) in zip(starts, ends.items(), strict=False)}
    queue = sorted(files, key=lambda file: hashlib.blake2b(file[0].encode()).digest(), reverse=True)
    splits: dict[str, bytearray] = {}
    for name, share in SHARES.items():
        taken = bytearray()
        left = len(SHARES) - len(splits) - 1  # the splits still to come need a file each
        while len(queue) > left and len(taken) < share * total:
            taken += (b"\0" if taken else b"") + queue.pop()[1]
        splits[name] = taken
    return splits
