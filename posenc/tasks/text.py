"""Real text: predict the next token, or masked tokens."""

import copy
import hashlib
import logging
import math
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from posenc import checks
from posenc.checks import ConfigError
from posenc.tasks.base import IGNORE, Task
from posenc.tasks.parts import corpus, tokens
from posenc.tasks.parts.near_copies import near_copies

log = logging.getLogger(__name__)

SHARES = {"test": 0.1, "validation": 0.1, "train": float("inf")}
"""The share of the bytes in each split. Splits are filled in this order; the last gets the rest."""


@dataclass(kw_only=True, eq=False, repr=False)
class TextDataset(Task):
    """Language modelling: the next byte at each place or, without a causal mask, the masked bytes.

        bytes            d e f   f ( x ) :
        causal: true     tokens   100 101 102 32 102 40 120 41       targets  101 102  32  32 102 40 120 41 58
        causal: false    tokens   100   M 102 32 102 40   M 41       targets   – 101 – – – – 120 –        (M = 256)

    Windows start at uniform places of a split's files, which zero bytes separate. `path` is a file (any bytes)
    or a folder (its UTF-8 files); by default the source files of the standard library of the Python that runs posenc,
    without its tests. A corpus of three or more files is split by file, in the order of a hash of their names; test and
    validation get a tenth of the bytes each. A smaller corpus is split into contiguous parts. Near copies, such as the
    tables of character sets, are in one split (posenc.tasks.parts.near_copies).

    Without a causal mask, the share `mask` of each window's places, at least one, is drawn without replacement and
    replaced by M. Deviation from BERT (Devlin et al. 2019, https://arxiv.org/abs/1810.04805): M replaces all of them,
    not four fifths.

    `tokenizer` is `bytes`; `bpe`, byte pairs that the tokenizers library learns on the training split, up to
    `num_tokens` tokens with the 256 bytes; or the path of a tokenizer.json. With `uint16` or `uint32`, tokens are ids
    of this type in train.bin, val.bin and, if it exists, test.bin of the folder `path`, as nanoGPT writes them; ids
    stay on disk.
    Except for `bytes`, scores are bits per token; bits per byte are these divided by `bytes_per_token`, which is
    unknown for ids. The byte pairs depend on the text: to train or test on several texts, give one tokenizer.json.

    The order-blind and order-aware ceilings of text are unknown; compare with `references` instead. Random guess:
    1/256, or 1/num_tokens.
    """

    published = (
        "ALiBi trained at length 1024 equals, at 2048, sinusoidal encodings trained at 2048 (Press et al. 2022, "
        "https://arxiv.org/abs/2108.12409). Causal models can work without encoding (Haviv et al. 2022, "
        "https://arxiv.org/abs/2203.16634); masked models need an encoding, and the more tokens are masked, the "
        "more they need it (Lasri et al. 2022, https://arxiv.org/abs/2211.04427)."
    )

    length: Any = 128
    vocab_size: int = field(init=False)
    path: str | None = None
    tokenizer: str = "bytes"
    num_tokens: int | None = None
    mask: float = 0.15
    causal: bool = True
    readout: str = "per_token"

    per_token = True

    def __post_init__(self) -> None:
        checks.number(self, low=0, high=1, open_low=True, mask=self.mask)
        self._tokens, self.digest, said = _tokens(self.path, self.tokenizer, self.num_tokens)
        self._splits, self.num_outputs = self._tokens.splits, self._tokens.count
        self.learns_tokens = self.tokenizer == "bpe"
        self.data = said + ", ".join(f"{len(data):,} {name}" for name, data in sorted(self._splits.items()))
        self.max_length = min(len(data) for data in self._splits.values()) - 1
        self.vocab_size = self.num_outputs + (not self.causal)
        super().__post_init__()
        self.needs_causal = True if self.causal else None
        longest = self.longest
        for name, data in self._splits.items():
            if len(data) < longest + 1:
                raise ConfigError(
                    f"{self}: the {name} split of {self.path or 'the corpus'} has {len(data)} tokens, but a window of "
                    f"length {longest} needs {longest + 1}; lower dataset.length and dataset.test_lengths, or give "
                    "more text."
                )
        self._data, self._split = self._splits["train"], "train"

    def split(self, name: str) -> "TextDataset":
        """The same task on the tokens of another split."""
        view = copy.copy(self)
        view._data, view._split = self._splits[name], name
        return view

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        start = torch.randint(len(self._data) - length, (batch, 1), generator=generator)
        window = torch.from_numpy(self._data[(start + torch.arange(length + 1)).numpy()].astype(np.int64))
        if self.tokenizer in corpus.IDS:
            self._tokens.check(int(window.max()), self._split)
        if self.causal:
            return window[:, :-1], window[:, 1:]
        window = window[:, :-1]
        count = max(1, round(self.mask * length))
        places = torch.rand(batch, length, generator=generator).topk(count, dim=1).indices
        targets = torch.full_like(window, IGNORE).scatter(1, places, window.gather(1, places))
        return window.scatter(1, places, self.num_outputs), targets

    def references(self) -> dict[str, float]:
        """Bits per byte of the test split without a model. With a tokenizer: bits per token, and bytes per token.

        unigram_bits_per_byte  −Σ f log₂ f over the frequencies of bytes, the best possible without context
        gzip_bits_per_byte     gzip -9 of the whole split, with a window of 32 KiB
        gzip_bits_per_byte_in_context
                               the same with a window of the trained length, or of 512 bytes, the smallest of zlib; its
                               Huffman tables still see the whole split
        """
        test = self._splits["test"]
        frequency = torch.from_numpy(self._tokens.frequencies("test"))
        entropy = -float(torch.special.xlogy(frequency, frequency).sum()) / math.log(2)
        if self.tokenizer != "bytes":
            sizes = self._tokens.bytes
            known = {} if sizes is None else {"bytes_per_token": sizes["test"] / len(test)}
            return {"unigram_bits_per_token": entropy} | known
        reach = min(15, max(9, math.ceil(math.log2(self.length[1]))))
        return {
            "unigram_bits_per_byte": entropy,
            "gzip_bits_per_byte": deflated(test.tobytes(), 15),
            "gzip_bits_per_byte_in_context": deflated(test.tobytes(), reach),
        }


def deflated(data: bytes, log2_reach: int) -> float:
    """Bits per byte of gzip -9 with a window of 2^log2_reach bytes, without the 18 bytes of its header."""
    coder = zlib.compressobj(level=9, wbits=-log2_reach, memLevel=9)
    return 8 * (len(coder.compress(data)) + len(coder.flush())) / len(data)


MAX_NAMED = 10
"""The largest number of skipped files that a warning names."""


def _tokens(path: str | None, tokenizer: str, num_tokens: int | None) -> tuple[tokens.Tokens, str, str]:
    """The tokens of each split, the digest of the data, and a description of the data."""
    if tokenizer in corpus.IDS:
        made = tokens.of_ids(path, tokenizer, num_tokens)
        return made, corpus.digest(path, tokenizer), f"ids of {made.count:,} tokens in {path}, on disk: "
    if tokenizer == "bytes" and num_tokens is not None:
        raise ConfigError(
            f"dataset.num_tokens={num_tokens} is for dataset.tokenizer=bpe; there are 256 bytes, so set it to null."
        )
    files = _read(path)
    if tokenizer != "bytes":
        _check_text(files, tokenizer)
    splits = _split(files)
    made = tokens.of_bytes(splits) if tokenizer == "bytes" else tokens.of_pairs(splits, tokenizer, num_tokens)
    what = "files" if len(files) > 1 else "file"
    said = f"{len(files):,} {what}, {sum(len(data) for _, data in files):,} bytes in {made.count:,} tokens: "
    return made, corpus.digest_of(files, tokenizer), said


def _check_text(files: list[tuple[str, bytes]], tokenizer: str) -> None:
    for name, data in files:
        try:
            data.decode()
        except UnicodeDecodeError as error:
            raise ConfigError(
                f"dataset.tokenizer={tokenizer} reads UTF-8, but {name} is not UTF-8; take dataset.tokenizer=bytes."
            ) from error


def _read(path: str | None) -> list[tuple[str, bytes]]:
    """The files of the corpus. A warning names skipped files."""
    skipped: list[str] = []
    files = list(corpus.read(path, skipped))
    if skipped:
        named = ", ".join(skipped[:MAX_NAMED]) + " ..." * (len(skipped) > MAX_NAMED)
        count = len(skipped), len(skipped) + len(files)
        log.warning("%d of %d files are unreadable or not UTF-8 and were skipped: %s", *count, named)
    return files


def _split(files: list[tuple[str, bytes]]) -> dict[str, bytearray]:
    """The bytes of each split: whole groups of near copies, or contiguous parts of fewer than three groups."""
    group = near_copies([data for _, data in files])
    groups = [[file for file, own in zip(files, group, strict=True) if own == one] for one in range(group.max() + 1)]
    if len(groups) < len(SHARES) <= len(files):
        log.warning("the files are near copies of each other, so the splits are parts of one text and share passages")
    if len(groups) < len(SHARES):
        joined = b"\0".join(data for _, data in files)
        ends = {name: round(len(joined) * end) for name, end in {"train": 0.8, "validation": 0.9, "test": 1.0}.items()}
        starts = [0, *ends.values()]
        return {name: bytearray(joined[start:end]) for start, (name, end) in zip(starts, ends.items(), strict=False)}
    by_hash = sorted(groups, key=lambda group: hashlib.blake2b(group[0][0].encode("utf-8", "surrogateescape")).digest())
    queue = [[data for _, data in group] for group in reversed(by_hash)]
    total = sum(len(data) for _, data in files)
    splits: dict[str, bytearray] = {}
    for name, share in SHARES.items():
        taken: list[bytes] = []
        left = len(SHARES) - len(splits) - 1  # each later split needs at least one group
        while len(queue) > left and sum(map(len, taken)) < share * total:
            fits = [i for i, each in enumerate(queue) if sum(map(len, each)) <= 2 * share * total]
            smallest = min(range(len(queue)), key=lambda i: sum(map(len, queue[i])))
            taken += queue.pop(fits[-1] if fits else smallest)
        splits[name] = bytearray(b"\0".join(taken))
    return splits
