"""No passage of the test text is in the training text: near copies of a file are in the same split as the file."""

from pathlib import Path

import numpy as np
import pytest

from posenc.tasks.parts.near_copies import near_copies
from posenc.tasks.text import TextDataset


def prose(random: np.random.Generator, size: int) -> bytes:
    """Random words of a small vocabulary, so that all files have words in common, but no passage."""
    words = [bytes(random.integers(97, 123, random.integers(2, 9)).astype(np.uint8)) for _ in range(400)]
    return b" ".join(words[i] for i in random.integers(len(words), size=size // 6))[:size]


def altered(random: np.random.Generator, text: bytes, every: int) -> bytes:
    """The text with about one of `every` bytes changed, and with a line inserted."""
    copied = np.frombuffer(text, np.uint8).copy()
    places = random.integers(len(copied), size=len(copied) // every)
    copied[places] = random.integers(97, 123, len(places))
    middle = len(copied) // 2
    return copied[:middle].tobytes() + b"\nmade by another hand\n" + copied[middle:].tobytes()


@pytest.mark.parametrize("size", [600, 6000, 20_000])
@pytest.mark.parametrize("seed", range(3))
def test_no_window_of_a_near_copy_is_in_training(tmp_path: Path, size: int, seed: int) -> None:
    """A third of the files are near copies of others; a split by name would put them into different splits."""
    random = np.random.default_rng([size, seed])
    originals = [prose(random, size) for _ in range(24)]
    for i, text in enumerate(originals + [altered(random, text, 150) for text in originals[:12]]):
        (tmp_path / f"{i}.txt").write_bytes(text)
    task = TextDataset(length=64, test_lengths=[64], path=str(tmp_path))
    train, validation, test = (bytes(task._splits[name].tolist()) for name in ("train", "validation", "test"))
    for held in (validation, test):
        assert len(held) >= size
        for start in random.integers(0, len(held) - 64, 100):
            assert held[start : start + 64] not in train
    total = len(train) + len(validation) + len(test)
    assert len(train) > 0.6 * total


def test_near_copies_are_found_and_nothing_else() -> None:
    random = np.random.default_rng(0)
    texts = [prose(random, 3000) for _ in range(6)]
    copies = [altered(random, text, 100) for text in texts[:3]]
    group = near_copies([*texts, *copies, b"short", b"", b" " * 500, b"\n" * 500])
    assert [*group[6:9]] == [*group[:3]]
    assert len({*group}) == 6 + 4
    common = prose(random, 200)  # a licence at the head of each is no near copy
    assert len({*near_copies([common + text for text in texts])}) == 6


@pytest.mark.slow
def test_the_splits_of_the_standard_library_share_next_to_nothing() -> None:
    """At most 3 % of windows of 128 bytes of the test split are in training. Without `near_copies` 12.8 % were."""
    task = TextDataset()
    train, test = (bytes(task._splits[name].tolist()) for name in ("train", "test"))
    starts = np.random.default_rng(0).integers(0, len(test) - 128, 150)
    assert np.mean([test[start : start + 128] in train for start in starts]) < 0.03


def test_a_corpus_of_near_copies_alone_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    random = np.random.default_rng(0)
    text = prose(random, 3000)
    for i in range(4):
        (tmp_path / f"{i}.txt").write_bytes(altered(random, text, 200))
    TextDataset(length=16, test_lengths=[16], path=str(tmp_path))
    assert "near copies of each other" in caplog.text
