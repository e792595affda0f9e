"""Counter languages and inductive counting: independent oracles, the laws, and that counts suffice."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posenc.checks import ConfigError
from posenc.streams import generator
from posenc.tasks.base import IGNORE, Task
from posenc.tasks.counting import InductiveCountingDataset, ShuffleDyckDataset

BRACKETS = "()[]{}<>"


def oracle_shuffle(word: str, num_pairs: int) -> list[int]:
    """At every place and for each pair: delete other brackets, cancel matched ones, and test whether one is open."""
    answers = []
    for end in range(1, len(word) + 1):
        legal = 0
        for i in range(num_pairs):
            opening, closing = BRACKETS[2 * i], BRACKETS[2 * i + 1]
            left = "".join(symbol for symbol in word[:end] if symbol in (opening, closing))
            while opening + closing in left:
                left = left.replace(opening + closing, "")
            assert closing not in left, "closed before it was opened"
            legal += 2**i * (opening in left)
        answers.append(legal)
    return answers


def oracle_counting(tokens: list[int], max_count: int) -> list[int]:
    assert tokens[1:] == [max_count + 1] * (len(tokens) - 1)
    answers, count = [IGNORE], tokens[0]
    assert count <= max_count
    for _ in tokens[1:]:
        count += 1
        answers.append(count)
    return answers


@pytest.mark.parametrize("num_pairs", [1, 2, 3])
@given(length=st.integers(1, 40), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_legal_symbols_agree_with_an_independent_oracle(num_pairs: int, length: int, seed: int) -> None:
    task = ShuffleDyckDataset(num_pairs=num_pairs)
    tokens, targets = task.sample(generator(seed, "test"), 8, length)
    assert tokens.shape == targets.shape == (8, length)
    assert tokens.dtype == targets.dtype == torch.int64
    assert task.vocab_size == 2 * num_pairs
    assert task.num_outputs == 2**num_pairs
    for row, answer in zip(tokens.tolist(), targets.tolist(), strict=True):
        assert oracle_shuffle("".join(BRACKETS[token] for token in row), num_pairs) == answer


@given(length=st.integers(2, 80), spare=st.integers(0, 40), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_counts_agree_with_an_independent_oracle(length: int, spare: int, seed: int) -> None:
    task = InductiveCountingDataset(length=length, max_count=length - 1 + spare)
    tokens, targets = task.sample(generator(seed, "test"), 32, length)
    assert tokens.dtype == targets.dtype == torch.int64
    assert tokens.max() < task.vocab_size
    assert targets.max() < task.num_outputs
    assert targets[:, 1:].min() >= 1
    for row, answer in zip(tokens.tolist(), targets.tolist(), strict=True):
        assert oracle_counting(row, task.max_count) == answer


def test_worked_examples() -> None:
    assert oracle_shuffle("(()", 1) == [1, 1, 1]
    assert oracle_shuffle("([)]", 2) == [1, 3, 2, 0]  # a word of Shuffle-2 and not of Dyck-2
    assert oracle_counting([79, 101, 101, 101], 100) == [IGNORE, 80, 81, 82]  # a row of the authors' files


def test_counting_is_the_law_of_the_source() -> None:
    """The source trains on 50 steps from 0, ..., 50, and its longest test has 100 steps."""
    task = InductiveCountingDataset(length=51, test_lengths=[101])
    tokens, _ = task.sample(generator(0, "law"), 51_000, 51)
    starts = torch.bincount(tokens[:, 0]).double() / 51_000
    assert len(starts) == 51
    assert (starts - 1 / 51).abs().max() < 4.5 * math.sqrt(1 / 51 / 51_000)
    tokens, targets = task.sample(generator(0, "long"), 4, 101)
    assert tokens[:, 0].tolist() == [0] * 4
    assert targets[:, -1].tolist() == [100] * 4


@pytest.mark.parametrize("num_pairs", [1, 2])
def test_brackets_open_and_close_as_declared(num_pairs: int) -> None:
    """Pairs are uniform, an open pair closes with probability ½, and the answers show the open pairs."""
    batch = 20_000
    tokens, targets = ShuffleDyckDataset(num_pairs=num_pairs).sample(generator(0, "law"), batch, 12)
    pair, closes = tokens // 2, tokens % 2
    share = torch.bincount(pair.flatten()).double() / pair.numel()
    assert (share - 1 / num_pairs).abs().max() < 4 * 0.5 / math.sqrt(pair.numel())
    open_before = (targets[:, :-1] >> pair[:, 1:]) & 1
    after = closes[:, 1:][open_before == 1].double()
    assert after.mean().item() == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(len(after)))
    assert not closes[:, 1:][open_before == 0].any()
    assert not closes[:, 0].any()
    if num_pairs == 1:  # P(depth 0 after 12 steps) = P(a symmetric walk is back at 0)
        expected = math.comb(12, 6) / 2**12
        assert (targets[:, -1] == 0).double().mean().item() == pytest.approx(expected, abs=4 * 0.42 / math.sqrt(batch))


@pytest.mark.parametrize("task", [ShuffleDyckDataset(), ShuffleDyckDataset(num_pairs=2), InductiveCountingDataset()])
def test_the_bag_so_far_determines_the_answer(task: Task) -> None:
    tokens, targets = task.sample(generator(0, "bag"), 500, 10)
    answers: dict[tuple[int, ...], int] = {}
    for row, answer in zip(tokens.tolist(), targets.tolist(), strict=True):
        for end in range(1, 11):
            assert answers.setdefault(tuple(sorted(row[:end])), answer[end - 1]) == answer[end - 1]
    assert task.order_blind_ceiling(10) == task.order_aware_ceiling(10) == 1.0


@pytest.mark.parametrize("task", [ShuffleDyckDataset(), InductiveCountingDataset()])
def test_samples_come_from_the_generator_alone(task: Task) -> None:
    before = torch.get_rng_state()
    (a, _), (b, _) = (task.sample(generator(3, "x"), 50, 32) for _ in range(2))
    assert torch.equal(a, b)
    assert not torch.equal(a, task.sample(generator(4, "x"), 50, 32)[0])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (ShuffleDyckDataset, {"num_pairs": 0}, "num_pairs must be a whole number ≥ 1, got 0"),
        (ShuffleDyckDataset, {"num_pairs": 9}, "num_pairs must be at most 8, got 9"),
        (ShuffleDyckDataset, {"causal": False}, r"set dataset\.causal=true"),
        (InductiveCountingDataset, {"causal": False}, r"set dataset\.causal=true"),
        (InductiveCountingDataset, {"test_lengths": [128]}, "max_count must be at least 127, got 100"),
        (InductiveCountingDataset, {"max_count": 0}, "max_count must be a whole number ≥ 1, got 0"),
        (InductiveCountingDataset, {"length": 1}, "length must be at least 2, got 1"),
    ],
)
def test_mistakes(make: type[Task], options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**options)
