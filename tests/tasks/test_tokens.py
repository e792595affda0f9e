"""Text in tokens: learned byte pairs, a tokenizer of the user, and ids on disk, which are never read as a whole."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from posenc.checks import ConfigError
from posenc.streams import generator
from posenc.tasks.parts import corpus, tokens
from posenc.tasks.text import TextDataset

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "élan"]


@pytest.fixture
def text(tmp_path: Path) -> str:
    """A folder of three files with random words."""
    draw = np.random.default_rng(0)
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(" ".join(draw.choice(WORDS, 900)), encoding="utf-8")
    return str(tmp_path)


def test_pairs_give_the_text_back_and_say_what_was_read(text: str) -> None:
    task = TextDataset(path=text, tokenizer="bpe", num_tokens=270, length=16)
    plain = TextDataset(path=text, length=16)
    learned = Tokenizer.from_str(tokens._learned((plain._splits["train"].tobytes().decode(),), 270))
    assert task.num_outputs == learned.get_vocab_size() == 270
    for name, ids in task._splits.items():
        assert learned.decode(ids.tolist()) == plain._splits[name].tobytes().decode()
    sizes = {name: len(ids) for name, ids in task._splits.items()}
    size = sum(len(data) for data in plain._splits.values())
    assert task.data == (
        f"3 files, {size:,} bytes in 270 tokens: {sizes['test']:,} test, {sizes['train']:,} train, "
        f"{sizes['validation']:,} validation"
    )
    found = task.references()
    assert found["bytes_per_token"] == pytest.approx(len(plain._splits["test"]) / sizes["test"])
    shares = np.unique(task._splits["test"], return_counts=True)[1] / sizes["test"]
    assert found["unigram_bits_per_token"] == pytest.approx(-(shares * np.log2(shares)).sum())
    x, y = task.sample(generator(0, "x"), 8, 16)
    assert torch.equal(x[:, 1:], y[:, :-1])
    masked, _ = TextDataset(path=text, tokenizer="bpe", num_tokens=270, length=16, causal=False).sample(
        generator(0, "x"), 8, 16
    )
    assert masked.max() == 270


def test_a_tokenizer_of_the_users_counts_in_the_digest(text: str, tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text(tokens._learned(("one two three",), 260))
    task = TextDataset(path=text, tokenizer=str(file), length=16)
    assert task.num_outputs == 260
    assert (
        task.digest == corpus.data_digest({"path": text, "tokenizer": str(file)}) != corpus.data_digest({"path": text})
    )
    changed = json.loads(file.read_text())
    file.write_text(json.dumps(changed | {"truncation": None, "padding": None}, indent=1))
    assert TextDataset(path=text, tokenizer=str(file), length=16).digest != task.digest


def ids(folder: Path, dtype: str = "uint16", **files: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(1)
    made = {name: draw.integers(0, 300, count).astype(dtype) for name, count in files.items()}
    for name, data in made.items():
        data.tofile(folder / f"{name}.bin")
    return made


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_ids_stay_on_disk_and_windows_are_theirs(tmp_path: Path, dtype: str) -> None:
    data = ids(tmp_path, dtype, train=5000, val=1001)
    task = TextDataset(path=str(tmp_path), tokenizer=dtype, length=16)
    assert task.num_outputs == max(part.max() for part in data.values()) + 1
    assert all(isinstance(split, np.memmap) for split in task._splits.values())
    assert np.array_equal(np.concatenate((task._splits["validation"], task._splits["test"])), data["val"])
    text = data["train"].tobytes()
    for row in task.sample(generator(0, "x"), 8, 16)[0]:
        assert row.numpy().astype(dtype).tobytes() in text
    assert task.digest == corpus.data_digest({"path": str(tmp_path), "tokenizer": dtype})
    data["train"][-1] += 1
    data["train"].tofile(tmp_path / "train.bin")
    assert corpus.digest(str(tmp_path), dtype) != task.digest
    assert set(task.references()) == {"unigram_bits_per_token"}


def test_test_bin_is_the_test_split(tmp_path: Path) -> None:
    data = ids(tmp_path, train=500, val=200, test=300)
    task = TextDataset(path=str(tmp_path), tokenizer="uint16", num_tokens=400, length=16)
    assert np.array_equal(task._splits["test"], data["test"])
    assert len(task._splits["validation"]) == 200
    assert task.num_outputs == 400


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokenizer": "bpe", "num_tokens": 256}, "dataset.num_tokens must be a whole number ≥ 257, got 256"),
        ({"num_tokens": 300}, "there are 256 bytes, so set it to null"),
        ({"tokenizer": "bpx"}, "tokenizer=bpx is none of bytes, bpe, uint16, uint32, and is no"),
        ({"tokenizer": None}, "tokenizer must be bytes, bpe, uint16, uint32 or the path of a tokenizer.json, got None"),
        ({"tokenizer": "uint16"}, "must be a folder with train.bin and val.bin"),
    ],
)
def test_mistakes(text: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TextDataset(path=text, length=16, **options)


def test_mistakes_in_files(text: str, tmp_path: Path) -> None:
    ids(tmp_path, train=500, val=200)
    with pytest.raises(ConfigError, match=r"the train split has the id 29\d, but num_tokens is 10"):
        TextDataset(path=text, tokenizer="uint16", num_tokens=10, length=64).sample(generator(0, "x"), 64, 64)
    (tmp_path / "val.bin").write_bytes(b"abc")
    with pytest.raises(ConfigError, match="3 bytes; it must have at least one number of 2 bytes"):
        TextDataset(path=text, tokenizer="uint16", length=16)
    (tmp_path / "picture").write_bytes(b"\xff\xfe" * 500)
    with pytest.raises(ConfigError, match="reads UTF-8, but picture is not UTF-8"):
        TextDataset(path=str(tmp_path / "picture"), tokenizer="bpe", length=16)
    (tmp_path / "broken.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"broken\.json is no tokenizer\.json"):
        TextDataset(path=text, tokenizer=str(tmp_path / "broken.json"), length=16)
    Tokenizer(models.BPE()).save(str(tmp_path / "empty.json"))
    with pytest.raises(ConfigError, match=r"empty\.json has no tokens; train it first"):
        TextDataset(path=text, tokenizer=str(tmp_path / "empty.json"), length=16)


def test_an_id_of_the_test_split_that_is_too_large_is_refused_before_training(tmp_path: Path) -> None:
    np.zeros(500, "uint16").tofile(tmp_path / "train.bin")
    np.arange(200, dtype="uint16").tofile(tmp_path / "val.bin")  # its second half is the test split
    task = TextDataset(path=str(tmp_path), tokenizer="uint16", num_tokens=50, length=16)
    with pytest.raises(ConfigError, match=r"the test split has the id 199, but num_tokens is 50; raise dataset\.num"):
        task.references()


def test_a_tokenizer_that_cuts_and_fills_up_gives_the_whole_text(text: str, tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore
    tokenizer.train_from_iterator(
        [" ".join(WORDS)], trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    )
    plain, cutting = tmp_path / "plain.json", tmp_path / "cutting.json"
    tokenizer.save(str(plain))
    tokenizer.enable_truncation(max_length=8)
    tokenizer.enable_padding(length=4096)
    tokenizer.save(str(cutting))
    whole, found = (TextDataset(path=text, tokenizer=str(file), length=16) for file in (plain, cutting))
    for name, ids in whole._splits.items():
        np.testing.assert_array_equal(found._splits[name], ids)
