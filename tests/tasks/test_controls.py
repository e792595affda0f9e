"""The laws of majority and histogram: independent oracles; answers that no reordering changes."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from posenc.checks import ConfigError
from posenc.streams import generator
from posenc.tasks.base import Task, skill
from posenc.tasks.controls import Histogram, Majority


def oracle_majority(tokens: list[int]) -> int:
    ranking = Counter(tokens).most_common()
    assert len(ranking) == 1 or ranking[0][1] > ranking[1][1]
    return ranking[0][0]


def oracle_histogram(tokens: list, classes: int) -> list[int]:
    return [min(tokens.count(token), classes) - 1 for token in tokens]


@given(length=st.integers(1, 60), seed=st.integers(0, 1000), vocab=st.integers(2, 9))
@settings(max_examples=25, deadline=None)
def test_majority_agrees_with_an_independent_oracle(length: int, seed: int, vocab: int) -> None:
    tokens, targets = Majority(vocab_size=vocab).sample(generator(seed, "test"), 64, length)
    assert tokens.shape == (64, length)
    assert tokens.dtype == targets.dtype == torch.int64
    assert tokens.min() >= 0
    assert tokens.max() < vocab
    assert [oracle_majority(row) for row in tokens.tolist()] == targets.tolist()


@given(length=st.integers(1, 60), seed=st.integers(0, 1000), classes=st.integers(2, 9))
@settings(max_examples=25, deadline=None)
def test_histogram_agrees_with_an_independent_oracle(length: int, seed: int, classes: int) -> None:
    task = Histogram(num_classes=classes, vocab_size=7)
    tokens, targets = task.sample(generator(seed, "test"), 64, length)
    assert tokens.shape == targets.shape == (64, length)
    assert tokens.dtype == targets.dtype == torch.int64
    assert tokens.min() >= 0
    assert tokens.max() < 7
    assert [oracle_histogram(row, classes) for row in tokens.tolist()] == targets.tolist()


def test_worked_examples() -> None:
    """hist("hello") of Weiss et al. 2021, and the examples of the docstrings."""
    assert [c + 1 for c in oracle_histogram(list("hello"), 8)] == [1, 1, 2, 2, 1]
    assert oracle_histogram([3, 3, 3, 1], 2) == [1, 1, 1, 0]
    assert oracle_majority([2, 0, 1, 2, 3, 2, 0, 2]) == 2


@pytest.mark.parametrize("task", [Majority(), Histogram()], ids=str)
def test_samples_come_from_the_generator_alone(task: Task) -> None:
    before = torch.get_rng_state()
    a, b = (task.sample(generator(3, "x"), 50, 32) for _ in range(2))
    c, _ = task.sample(generator(4, "x"), 50, 32)
    assert torch.equal(a[0], b[0])
    assert torch.equal(a[1], b[1])
    assert not torch.equal(a[0], c)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("length", [2, 6, 32])
def test_majority_is_uniform_over_sequences_without_ties(length: int) -> None:
    _, targets = Majority().sample(generator(0, f"uniform/{length}"), 60_000, length)
    counts = torch.bincount(targets, minlength=4).double()
    assert (counts / 60_000 - 1 / 4).abs().max() < 4 * math.sqrt(3 / 16 / 60_000)


def test_majority_keeps_the_law_of_counts() -> None:
    """Over two values, 2 of 8 sequences of three tokens are constant. Of four tokens, 10 of 16 have a majority."""
    tokens, _ = Majority(vocab_size=2).sample(generator(0, "law"), 40_000, 3)
    constant = (tokens == tokens[:, :1]).all(1).double().mean().item()
    assert constant == pytest.approx(1 / 4, abs=4 * math.sqrt(3 / 16 / 40_000))
    tokens, _ = Majority(vocab_size=2).sample(generator(0, "law"), 40_000, 4)
    constant = (tokens == tokens[:, :1]).all(1).double().mean().item()
    assert constant == pytest.approx(2 / 10, abs=4 * math.sqrt(0.16 / 40_000))  # of 16, 6 are tied


def test_histogram_classes_are_binomial() -> None:
    _, targets = Histogram(vocab_size=5, num_classes=4).sample(generator(0, "binomial"), 40_000, 9)
    share = (torch.bincount(targets[:, 3], minlength=4).double() / 40_000).tolist()
    expected = [binom.pmf(count, 8, 1 / 5) for count in range(3)]
    assert share == pytest.approx([*expected, 1 - sum(expected)], abs=4 * 0.5 / math.sqrt(40_000))


@pytest.mark.parametrize("task", [Majority(), Histogram(vocab_size=4)], ids=str)
def test_a_reordered_sequence_has_the_same_answers(task: Task) -> None:
    """The bag (for histogram with the token) determines the answer, so both ceilings are 1 and there is no skill."""
    tokens, targets = task.sample(generator(0, "order"), 20_000, 5)
    answers: dict[tuple, int] = {}
    for row, answer in zip(tokens.tolist(), targets.tolist(), strict=True):
        for token, label in zip(row, answer, strict=True) if isinstance(answer, list) else [(None, answer)]:
            assert answers.setdefault((*sorted(row), token), label) == label
    assert len(answers) <= 56 * 4  # 56 bags of five tokens out of four values
    assert task.order_blind_ceiling(32) == task.order_aware_ceiling(32) == 1.0
    assert skill(0.9, task.order_blind_ceiling(32), task.order_aware_ceiling(32)) is None


def test_mistakes() -> None:
    with pytest.raises(ConfigError, match=r"set dataset\.causal=false"):
        Histogram(causal=True)
    with pytest.raises(ConfigError, match="num_classes must be a whole number ≥ 2, got 1"):
        Histogram(num_classes=1)
    with pytest.raises(ConfigError, match="vocab_size must be a whole number ≥ 2, got 1"):
        Majority(vocab_size=1)
    with pytest.raises(ConfigError, match=r"each of dataset\.test_lengths must be a whole number ≥ 1, got 0"):
        Majority(test_lengths=[0, 8])
