"""The laws of pattern, sorting, distance and text: independent oracles, exact ceilings against Monte Carlo."""

import gzip
import itertools
import math
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency

from posenc.checks import ConfigError
from posenc.streams import generator
from posenc.tasks.base import IGNORE, Task, skill
from posenc.tasks.distance import DistanceDataset
from posenc.tasks.pattern import PositionAwarePatternDataset
from posenc.tasks.sorting import SortingDataset
from posenc.tasks.text import TextDataset, deflated


def oracle_pattern(tokens: list[int]) -> int:
    matched = [
        tokens[3] == 5 and tokens[7] == 8,
        tokens[5] == 3 and tokens[10] == 9,
        tokens[15] == 7 and tokens[20] == 4,
    ]
    assert sum(matched) == 1
    return matched.index(True)


def oracle_sorting(tokens: list[int]) -> int:
    descents = sum(a > b for a, b in itertools.pairwise(tokens))
    assert descents <= 1
    return int(descents == 0)


def oracle_distance(tokens: list[int]) -> int:
    assert tokens.count(5) == 1
    assert tokens.count(8) == 1
    distance = abs(tokens.index(5) - tokens.index(8))
    return min(4, (distance - 1) * 5 // 31)  # bins of the trained length, 32, whatever the length


TASKS = {
    "pattern": (PositionAwarePatternDataset(), oracle_pattern, 21),
    "sorting": (SortingDataset(), oracle_sorting, 2),
    "distance": (DistanceDataset(), oracle_distance, 6),
}


@pytest.mark.parametrize("name", TASKS)
@given(length=st.integers(0, 60), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_labels_agree_with_an_independent_oracle(name: str, length: int, seed: int) -> None:
    task, oracle, shortest = TASKS[name]
    tokens, targets = task.sample(generator(seed, "test"), 64, shortest + length)
    assert tokens.shape == (64, shortest + length)
    assert tokens.dtype == targets.dtype == torch.int64
    assert tokens.min() >= 0
    assert tokens.max() < task.vocab_size
    assert [oracle(row) for row in tokens.tolist()] == targets.tolist()


@pytest.mark.parametrize("name", TASKS)
def test_samples_come_from_the_generator_alone(name: str) -> None:
    task = TASKS[name][0]
    before = torch.get_rng_state()
    a, b = (task.sample(generator(3, "x"), 50, 32) for _ in range(2))
    c, _ = task.sample(generator(4, "x"), 50, 32)
    assert torch.equal(a[0], b[0])
    assert torch.equal(a[1], b[1])
    assert not torch.equal(a[0], c)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", TASKS)
def test_classes_are_uniform(name: str) -> None:
    task = TASKS[name][0]
    _, targets = task.sample(generator(0, "uniform"), 60_000, 32)
    counts = torch.bincount(targets, minlength=task.num_outputs).double()
    assert (counts / 60_000 - 1 / task.num_outputs).abs().max() < 4 * 0.5 / math.sqrt(60_000)


def best_guess_by_counts(tokens: torch.Tensor) -> torch.Tensor:
    """The order-blind Bayes rule of `pattern`: the class whose two values have the largest product of counts."""
    counts = [[(tokens == value).sum(1) for value in pair] for pair in ((5, 8), (3, 9), (7, 4))]
    return torch.stack([a * b for a, b in counts], dim=1)


@pytest.mark.parametrize("length", [21, 32, 64, 150])
def test_pattern_blind_ceiling_against_monte_carlo(length: int) -> None:
    task, n = PositionAwarePatternDataset(), 200_000
    tokens, targets = task.sample(generator(0, f"ceiling/{length}"), n, length)
    products = best_guess_by_counts(tokens)
    best = products == products.max(1, keepdim=True).values
    hit = best.gather(1, targets[:, None])[:, 0] / best.sum(1)  # ties are broken at random
    error = hit.std().item() / math.sqrt(n)
    assert hit.mean().item() == pytest.approx(task.order_blind_ceiling(length), abs=4 * error)


def brute_pattern_ceiling(vocab: int) -> float:
    """The ceiling of a similar smaller law, by enumeration of all sequences of length 6."""
    cells = (((0, 0), (1, 1)), ((2, 2), (3, 3)), ((4, 4), (5, 5)))
    bags: dict[tuple[int, ...], Counter[int]] = {}
    for sequence in itertools.product(range(vocab), repeat=6):
        matched = [all(sequence[p] == v for p, v in pattern) for pattern in cells]
        if sum(matched) == 1:
            bag = tuple(sorted(sequence))
            bags.setdefault(bag, Counter())[matched.index(True)] += 1
    total = sum(sum(classes.values()) for classes in bags.values())
    return sum(max(classes.values()) for classes in bags.values()) / total


def test_pattern_blind_ceiling_against_enumeration(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ceiling depends only on length and vocabulary, and not on the places and values of the patterns."""
    task = PositionAwarePatternDataset(vocab_size=10)
    monkeypatch.setattr(task, "vocab_size", 7)
    assert task.order_blind_ceiling(6) == pytest.approx(brute_pattern_ceiling(7), abs=1e-12)


def test_pattern_law_is_uniform_given_its_class() -> None:
    """Free cells are uniform, given that no other class matches; the law of cell 3 in class 1 is computed by hand."""
    tokens, targets = PositionAwarePatternDataset().sample(generator(0, "law"), 400_000, 21)
    of_class_1 = tokens[targets == 1]
    both = 1 / 400
    expected = (1 / 20 - both) / (1 - both)  # P(5 at 3 | not both 5 at 3 and 8 at 7)
    share = (of_class_1[:, 3] == 5).double().mean().item()
    assert share == pytest.approx(expected, abs=4 * math.sqrt(expected / len(of_class_1)))
    assert share != pytest.approx(1 / 20, abs=(1 / 20 - expected) / 4)


@pytest.mark.parametrize(
    "task", [SortingDataset(vocab_size=5), DistanceDataset(length=6, vocab_size=10, num_classes=3)]
)
def test_bags_say_nothing_about_the_class(task: Task) -> None:
    tokens, targets = task.sample(generator(0, "bags"), 60_000, 6)
    bags = [tuple(row) for row in tokens.sort(1).values.tolist()]
    frequent = [bag for bag, _ in Counter(bags).most_common(60)]
    table = np.zeros((len(frequent), task.num_outputs), dtype=int)
    place = {bag: i for i, bag in enumerate(frequent)}
    for bag, target in zip(bags, targets.tolist(), strict=True):
        if bag in place:
            table[place[bag], target] += 1
    assert float(chi2_contingency(table)[1]) > 1e-4  # pyright: ignore[reportArgumentType]
    assert task.order_blind_ceiling(6) == pytest.approx(1 / task.num_outputs)


def test_sorting_exchanges_each_unequal_pair_equally_often() -> None:
    tokens, targets = SortingDataset(vocab_size=50).sample(generator(0, "sites"), 30_000, 5)
    unsorted = tokens[(targets == 0) & (tokens.sort(1).values.diff(dim=1) > 0).all(1)]
    sites = (unsorted.diff(dim=1) < 0).double().mean(0)
    torch.testing.assert_close(sites, torch.full((4,), 0.25, dtype=torch.double), atol=0.02, rtol=0)


def test_distance_is_uniform_within_its_bin_and_on_both_sides() -> None:
    tokens, targets = DistanceDataset(length=9, num_classes=2).sample(generator(0, "d"), 40_000, 9)
    five, eight = ((tokens == marker).int().argmax(1) for marker in (5, 8))
    for label in (0, 1):
        distance = (five - eight).abs()[targets == label]
        share = torch.bincount(distance, minlength=9)[1 + 4 * label : 5 + 4 * label] / len(distance)
        torch.testing.assert_close(share, torch.full((4,), 0.25), atol=0.015, rtol=0)
    assert (five < eight).double().mean().item() == pytest.approx(0.5, abs=0.011)


def test_skill_is_a_line_through_the_ceilings() -> None:
    assert skill(0.69, 0.69, 1.0) == pytest.approx(0.0)
    assert skill(1.0, 0.69, 1.0) == pytest.approx(1.0)
    assert skill(0.5, 0.5, 0.5) is None
    assert skill(0.5, None, 1.0) is None


def folder(path: Path, count: int, size: int = 400) -> str:
    for i in range(count):
        (path / f"{i}.txt").write_bytes(bytes([97 + i]) * size)
    return str(path)


def test_text_targets_are_the_next_bytes_and_splits_share_no_file(tmp_path: Path) -> None:
    task = TextDataset(length=16, path=folder(tmp_path, 20))
    seen = {}
    for split in ("train", "validation", "test"):
        tokens, targets = task.split(split).sample(generator(0, split), 2000, 16)
        assert torch.equal(tokens[:, 1:], targets[:, :-1])
        seen[split] = set(tokens.unique().tolist()) - {0}
        assert seen[split]
    assert not seen["train"] & seen["test"]
    assert not seen["train"] & seen["validation"]
    assert not seen["test"] & seen["validation"]
    assert len(seen["train"] | seen["test"] | seen["validation"]) == 20


def test_text_of_one_file_is_cut_in_contiguous_parts(tmp_path: Path) -> None:
    data = bytes(range(256)) * 8
    (tmp_path / "one.bin").write_bytes(data)
    task = TextDataset(length=16, path=str(tmp_path / "one.bin"))
    parts = [bytes(task._splits[name].tolist()) for name in ("train", "validation", "test")]
    assert b"".join(parts) == data
    assert [round(len(part) / len(data), 1) for part in parts] == [0.8, 0.1, 0.1]


def test_unigram_entropy_by_hand(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"aaab" * 500)
    reference = TextDataset(length=8, path=str(tmp_path / "x")).references()["unigram_bits_per_byte"]
    assert reference == pytest.approx(-(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25)), abs=0.02)


@pytest.mark.slow
def test_the_default_corpus_is_real_text() -> None:
    task = TextDataset()
    assert len(task._splits["train"]) > 1_000_000
    assert 4 < task.references()["unigram_bits_per_byte"] < 6
    assert task.digest == TextDataset().digest


def test_text_mistakes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither a file nor a folder"):
        TextDataset(path=str(tmp_path / "absent"))
    with pytest.raises(ConfigError, match="no text was found"):
        TextDataset(path=str(tmp_path))
    with pytest.raises(ConfigError, match=r"lower dataset\.length and dataset\.test_lengths, or give more"):
        TextDataset(path=folder(tmp_path, 3, size=20))
    for size in (0, 2):
        (tmp_path / "short").write_bytes(b"a" * size)
        with pytest.raises(ConfigError, match="a window of length 128 needs 129"):
            TextDataset(path=str(tmp_path / "short"))
    with pytest.raises(ConfigError, match="mask must be a number > 0 and ≤ 1, got 0"):
        TextDataset(causal=False, mask=0)


def test_unreadable_files_are_named_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    corpus = Path(folder(tmp_path, 5, size=4000))
    (corpus / "dangling.txt").symlink_to(corpus / "absent")  # no file, so it is skipped without a warning
    whole = TextDataset(length=16, path=str(corpus))
    (corpus / "picture.bin").write_bytes(b"\xff\xfe\x00" * 50)
    task = TextDataset(length=16, path=str(corpus))
    assert "1 of 6 files are unreadable or not UTF-8 and were skipped: picture.bin" in caplog.text
    assert task.digest == whole.digest


def test_a_short_corpus_is_tested_as_far_as_it_goes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abcdefgh" * 500)
    task = TextDataset(length=64, path=str(tmp_path / "x"))
    assert task.test_lengths == [64, 96, 128, 256]  # the test split has 400 bytes


@cache
def corpus(causal: bool) -> TextDataset:
    return TextDataset(length=64, causal=causal)


@pytest.mark.slow
@given(st.integers(1, 60), st.floats(0.01, 1), st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_masked_bytes_are_hidden_and_asked_for(length: int, mask: float, seed: int) -> None:
    task = corpus(causal=False)
    task.mask = mask
    tokens, targets = task.sample(generator(seed, "masked"), 8, length)
    bytes_, _ = corpus(causal=True).sample(generator(seed, "masked"), 8, length)  # the same windows
    for row, wanted, real in zip(tokens.tolist(), targets.tolist(), bytes_.tolist(), strict=True):
        hidden = [i for i, token in enumerate(row) if token == 256]
        assert len(hidden) == max(1, round(mask * length))
        assert [i for i, target in enumerate(wanted) if target != IGNORE] == hidden
        assert [real[i] if token == 256 else token for i, token in enumerate(row)] == real
        assert all(wanted[i] == real[i] for i in hidden)


def test_gzip_reference_is_gzips(tmp_path: Path) -> None:
    data = Path(pytest.__file__).read_bytes() * 3
    assert deflated(data, 15) == pytest.approx(8 * (len(gzip.compress(data, 9)) - 18) / len(data), rel=1e-3)
    noise = bytes(np.random.default_rng(0).integers(0, 256, 3000, dtype=np.uint8))
    assert deflated(noise * 4, 9) > 8  # the repetition is 3,000 bytes back, outside the window
    assert deflated(noise * 4, 15) < 2.2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 20}, "PositionAwarePatternDataset: dataset.length must be at least 21, got 20"),
        ({"vocab_size": 9}, "vocab_size must be at least 10, got 9"),
        ({"vocab_size": 0}, "vocab_size must be a whole number ≥ 1"),
        ({"length": -1}, "length must be a whole number ≥ 1, got -1"),
        ({"length": [40, 32]}, r"\[40, 32\] are an empty range; set dataset\.length=\[32,40\]"),
        ({"length": [32]}, "one whole number or"),
        ({"length": "long"}, "one whole number or"),
        ({"test_lengths": 64}, r"test_lengths must be a list, got 64; write \[64\]"),
        ({"test_lengths": [64, 8]}, "each of dataset.test_lengths must be at least 21, got 8"),
    ],
)
def test_pattern_mistakes(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PositionAwarePatternDataset(**options)
