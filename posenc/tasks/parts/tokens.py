"""Turns files into tokens: bytes, learned byte pairs, or ids on disk."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from posenc import checks
from posenc.checks import ConfigError
from posenc.tasks.parts import corpus

PAIRS = 1024
"""The default number of tokens of `bpe`, the 256 bytes included."""
CHUNK = 2**22
"""The number of ids that are read at once."""


@dataclass(frozen=True)
class Tokens:
    """The tokens of each split, whole numbers below `count`, in memory or on disk.

    bytes  {split: size of its text in bytes}; None: unknown
    """

    splits: Mapping[str, np.ndarray]
    count: int
    bytes: Mapping[str, int] | None = None

    def frequencies(self, split: str) -> np.ndarray:
        """The relative frequency of each token in a split. Raises ConfigError if an id is not below `count`."""
        counts = np.zeros(self.count)
        for part in _parts(self.splits[split]):
            self.check(int(part.max()), split)
            counts += np.bincount(part, minlength=self.count)
        return counts / counts.sum()

    def check(self, largest: int, split: str) -> None:
        """Raise ConfigError if `largest`, an id of a split, is not below `count`."""
        if largest >= self.count:
            raise ConfigError(
                f"TextDataset: the {split} split has the id {largest}, but num_tokens is {self.count}; raise "
                "dataset.num_tokens, or write null."
            )


def of_bytes(splits: Mapping[str, bytes | bytearray]) -> Tokens:
    """Each byte is a token."""
    sizes = {name: len(data) for name, data in splits.items()}
    return Tokens({name: np.frombuffer(data, np.uint8) for name, data in splits.items()}, 256, sizes)


def of_pairs(splits: Mapping[str, bytes | bytearray], tokenizer: str, num_tokens: int | None) -> Tokens:
    """Tokens of a tokenizer.json, or `num_tokens` tokens of byte-level BPE that is learned on the training split.

    BPE: Sennrich et al. 2016 (https://arxiv.org/abs/1508.07909) on bytes, as in GPT-2, by the tokenizers library. A
    letter that the end of a split cuts is left out. Truncation and padding in a tokenizer.json are ignored. Raises
    ConfigError if the library or the file is missing.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ConfigError(
            f"dataset.tokenizer={tokenizer} needs the tokenizers library; pip install tokenizers, or take "
            "dataset.tokenizer=bytes."
        ) from error
    if tokenizer == "bpe":
        asked = PAIRS if num_tokens is None else num_tokens
        checks.positive("TextDataset", minimum=257, maximum=2**20, **{"dataset.num_tokens": asked})
        written = _learned(_texts(bytes(splits["train"])), asked)
    else:
        if num_tokens is not None:
            raise ConfigError(
                f"dataset.num_tokens={num_tokens}: {tokenizer} fixes the number of tokens; set dataset.num_tokens=null."
            )
        file = corpus.tokenizer_file(tokenizer)
        try:
            written = Tokenizer.from_str(file.decode()).to_str()
        except Exception as error:  # the library raises no narrower type
            raise ConfigError(f"dataset.tokenizer={tokenizer} is no tokenizer.json: {error}") from error
    count = 1 + max(Tokenizer.from_str(written).get_vocab().values(), default=-1)
    if not count:
        raise ConfigError(
            f"dataset.tokenizer={tokenizer} has no tokens; train it first, or take dataset.tokenizer=bpe."
        )
    ids = {name: _encoded(written, bytes(data)) for name, data in splits.items()}
    return Tokens(ids, count, {name: len(data) for name, data in splits.items()})


def _texts(data: bytes) -> tuple[str, ...]:
    """The files of a split, which zero bytes separate."""
    return tuple(data.decode("utf-8", "ignore").split("\0"))


@lru_cache(maxsize=1)
def _learned(texts: tuple[str, ...], num_tokens: int) -> str:
    """The learned tokenizer as json. Cached, because many runs of one process need it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learned.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    learned.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=num_tokens, initial_alphabet=alphabet, show_progress=False)
    )
    return learned.to_str()


@lru_cache(maxsize=3)
def _encoded(written: str, data: bytes) -> np.ndarray:
    """The ids of all texts of a split, with a zero byte between them. Cached, because many runs need them."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(written)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    first, *others = _texts(data)
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in (first, *("\0" + text for text in others))]
    return np.concatenate([np.array(part, dtype=np.int32) for part in ids])


def of_ids(path: str | None, dtype: str, num_tokens: int | None) -> Tokens:
    """The ids in train.bin, val.bin and test.bin of a folder, as nanoGPT writes them: numbers of one type, no header.

    Ids stay on disk until a window reads them. Without test.bin, the first half of val.bin is validation, and the
    second half is test. If `num_tokens` is None, all files are read once, and it is the largest id plus one.
    """
    files = corpus.id_files(path)
    kind = np.dtype(dtype).newbyteorder("<")
    splits: dict[str, np.ndarray] = {}
    for name, file in files.items():
        size = file.stat().st_size
        if not size or size % kind.itemsize:
            raise ConfigError(
                f"dataset.path: {file} has {size:,} bytes; it must have at least one number of {kind.itemsize} bytes, "
                "and only whole ones."
            )
        splits[name] = np.memmap(file, kind, "r")
    if "test" not in splits:
        half = len(splits["validation"]) // 2
        splits["validation"], splits["test"] = splits["validation"][:half], splits["validation"][half:]
    if num_tokens is None:
        num_tokens = 1 + max(int(part.max()) for data in splits.values() for part in _parts(data))
    checks.positive("TextDataset", **{"dataset.num_tokens": num_tokens})
    return Tokens(splits, num_tokens)


def _parts(data: np.ndarray) -> Iterator[np.ndarray]:
    return (data[start : start + CHUNK] for start in range(0, len(data), CHUNK))
