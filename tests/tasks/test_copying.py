"""Copying, sorting, sums and addition: independent oracles, ceilings against enumeration, aligned positions."""

import itertools
import math
from collections import Counter, defaultdict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posenc.checks import ConfigError
from posenc.positions.schemes import WithinNumber
from posenc.streams import generator
from posenc.tasks.addition import AdditionIndexHintsDataset, ReversedAdditionDataset, add
from posenc.tasks.base import IGNORE, Task
from posenc.tasks.copying import CopyDataset, ReverseDataset, SortDataset, SumModDataset
from posenc.tasks.parts.counts import expected_largest_count, mean_largest_share

REARRANGED = {
    "copy": (CopyDataset, {}, list),
    "copy_repeats": (CopyDataset, {"alphabet": 2}, list),
    "copy_twice": (CopyDataset, {"copies": 2}, lambda x: [*x, *x]),
    "copy_thrice": (CopyDataset, {"copies": 3}, lambda x: [*x, *x, *x]),
    "reverse": (ReverseDataset, {}, lambda x: x[::-1]),
    "sort": (SortDataset, {}, sorted),
}
ALL = {
    **{name: make(**options) for name, (make, options, _) in REARRANGED.items()},
    "sum_mod_10": SumModDataset(),
    "reversed_addition": ReversedAdditionDataset(),
    "addition_index_hints": AdditionIndexHintsDataset(),
}


def check(task: Task, tokens: torch.Tensor, targets: torch.Tensor) -> None:
    assert tokens.dtype == targets.dtype == torch.int64
    assert tokens.min() >= 0
    assert tokens.max() < task.vocab_size
    asked = targets[targets != IGNORE]
    assert asked.min() >= 0
    assert asked.max() < task.num_outputs


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", REARRANGED)
@given(n=st.integers(2, 40), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_outputs_agree_with_an_independent_oracle(name: str, causal: bool, n: int, seed: int) -> None:
    make, options, oracle = REARRANGED[name]
    task = make(causal=causal, **options)
    tokens, targets = task.sample(generator(seed, "test"), 32, n)
    check(task, tokens, targets)
    blank = task.num_outputs
    for row, answer in zip(tokens.tolist(), targets.tolist(), strict=True):
        expected = oracle(row[:n])
        assert answer == [IGNORE] * n + expected
        assert row[n:] == ([blank, *expected[:-1]] if causal else [blank] * len(expected))


@given(n=st.integers(1, 50), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_sums_agree_with_an_independent_oracle(n: int, seed: int) -> None:
    task = SumModDataset()
    tokens, targets = task.sample(generator(seed, "test"), 32, n)
    check(task, tokens, targets)
    assert set(tokens.unique().tolist()) <= set(range(1, 10))
    for row, answer in zip(tokens.tolist(), targets.tolist(), strict=True):
        assert str(sum(row))[-1] == str(answer)


def number(digits: list[int]) -> int:
    return int("".join(map(str, reversed(digits))))


@pytest.mark.parametrize("causal", [False, True])
@given(n=st.integers(1, 40), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_addition_agrees_with_whole_numbers(causal: bool, n: int, seed: int) -> None:
    task = ReversedAdditionDataset(causal=causal)
    tokens, targets = task.sample(generator(seed, "test"), 32, n)
    check(task, tokens, targets)
    assert tokens.shape == targets.shape == (32, 3 * n + 3)
    for row, answer in zip(tokens.tolist(), targets.tolist(), strict=True):
        a, plus, b, equals, slots = row[:n], row[n], row[n + 1 : 2 * n + 1], row[2 * n + 1], row[2 * n + 2 :]
        assert (plus, equals) == (11, 12)
        assert answer[: 2 * n + 2] == [IGNORE] * (2 * n + 2)
        y = answer[2 * n + 2 :]
        assert number(a) + number(b) == number(y)
        assert slots == ([10, *y[:-1]] if causal else [10] * (n + 1))


@pytest.mark.parametrize("causal", [False, True])
@given(n=st.integers(1, 40), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_index_hints_agree_with_whole_numbers(causal: bool, n: int, seed: int) -> None:
    task = AdditionIndexHintsDataset(causal=causal, num_indices=42)
    tokens, targets = task.sample(generator(seed, "test"), 32, n)
    check(task, tokens, targets)
    assert tokens.shape == targets.shape == (32, 6 * n + 4)
    for row, answer in zip(tokens.tolist(), targets.tolist(), strict=True):
        a, plus, b, equals, slots = (
            row[: 2 * n], row[2 * n], row[2 * n + 1 : 4 * n + 1], row[4 * n + 1], row[4 * n + 2 :],
        )  # fmt: skip
        assert (plus, equals) == (11, 12)
        hints = [row[0] + k for k in range(n + 1)]
        assert hints[0] >= 13
        assert a[::2] == b[::2] == hints[:-1]
        asked = answer[4 * n + 2 :]
        assert answer[: 4 * n + 2] == [IGNORE] * (4 * n + 2)
        assert asked[::2] == [IGNORE] * (n + 1)
        y = asked[1::2]
        assert number(a[1::2]) + number(b[1::2]) == number(y)
        if causal:
            assert slots[0] == 10
            assert slots[1::2] == hints  # each answer is asked at the index of its place
            assert slots[2::2] == y[:-1]
        else:
            assert slots[::2] == hints
            assert slots[1::2] == [10] * (n + 1)


@pytest.mark.parametrize(
    ("a", "b", "y"),
    [
        ([8, 5], [7, 6], [5, 2, 1]),  # 58 + 67 = 125
        ([2, 4], [9, 3], [1, 8, 0]),  # 42 + 39 = 81
        ([9, 9, 9, 9], [1, 0, 0, 0], [0, 0, 0, 0, 1]),  # a chain of carries
        ([0, 9, 9], [0, 0, 1], [0, 9, 0, 1]),  # a sum of nine passes on no carry, if it gets none
        ([4, 5], [5, 4], [9, 9, 0]),
    ],
)
def test_addition_by_hand(a: list[int], b: list[int], y: list[int]) -> None:
    assert add(torch.tensor([a]), torch.tensor([b])).tolist() == [y]


def test_every_index_occurs_and_starts_are_uniform() -> None:
    task = AdditionIndexHintsDataset(length=8, num_indices=12)
    tokens, _ = task.sample(generator(0, "start"), 40_000, 8)
    starts = torch.bincount(tokens[:, 0] - 13, minlength=4) / 40_000
    assert len(starts) == 4
    torch.testing.assert_close(starts, torch.full((4,), 0.25), atol=4 * 0.433 / 200, rtol=0)
    assert set(tokens.unique().tolist()) == set(range(task.vocab_size))


@given(n=st.integers(1, 30), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_positions_within_numbers_align_digits_of_equal_place(n: int, seed: int) -> None:
    """Under teacher forcing, the digits of the answer also have the positions of their places."""
    tokens, targets = ReversedAdditionDataset().sample(generator(seed, "test"), 8, n)
    ids = WithinNumber(list(range(10)))(tokens, training=False).ids
    place = torch.arange(1, n + 1).expand(8, n)
    assert torch.equal(ids[:, :n], place)
    assert torch.equal(ids[:, n + 1 : 2 * n + 1], place)
    assert torch.equal(ids[:, 2 * n + 3 :], place)
    assert torch.equal(tokens[:, 2 * n + 3 :], targets[:, 2 * n + 2 : -1])
    assert not ids[:, [n, 2 * n + 1, 2 * n + 2]].any()


def test_sum_classes_follow_their_law() -> None:
    for n in (1, 2, 3, 32):
        _, targets = SumModDataset().sample(generator(0, f"sum/{n}"), 40_000, n)
        expected = 0.1 + 0.9 * (-1 / 9) ** n
        share = (targets == 0).double().mean().item()
        assert share == pytest.approx(expected, abs=4 * math.sqrt(max(expected, 1e-4) / 40_000))
        rest = torch.bincount(targets, minlength=10)[1:].double() / 40_000
        assert (rest - (1 - expected) / 9).abs().max() < 4 * math.sqrt(0.1 / 40_000)


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("name", REARRANGED)
def test_blind_ceilings_with_slots_against_enumeration(name: str, n: int) -> None:
    """The best rule gives one answer in all slots, the most frequent output given the bag of the input."""
    make, options, oracle = REARRANGED[name]
    task = make(causal=False, **{**options, "alphabet": 3})
    occurs: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for x in itertools.product(range(3), repeat=n):
        occurs[tuple(sorted(x))].update(oracle(list(x)))
    right = sum(max(counter.values()) for counter in occurs.values())
    asked = sum(sum(counter.values()) for counter in occurs.values())
    assert task.order_blind_ceiling(n) == pytest.approx(right / asked, abs=1e-12)


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("name", REARRANGED)
def test_blind_ceilings_under_teacher_forcing_against_enumeration(name: str, n: int) -> None:
    """The best rule knows the bag of the input, the bag of the output so far, and the symbol just read."""
    make, options, oracle = REARRANGED[name]
    task = make(causal=True, **{**options, "alphabet": 3})
    occurs: dict[tuple, Counter[int]] = defaultdict(Counter)
    for x in itertools.product(range(3), repeat=n):
        y = oracle(list(x))
        for j, symbol in enumerate(y):
            occurs[tuple(sorted(x)), tuple(sorted(y[:j])), tuple(y[:j][-1:])][symbol] += 1
    right = sum(max(counter.values()) for counter in occurs.values())
    asked = sum(sum(counter.values()) for counter in occurs.values())
    assert task.order_blind_ceiling(n) == pytest.approx(right / asked, abs=1e-12)


@pytest.mark.parametrize(("n", "alphabet"), [(1, 5), (2, 2), (37, 20), (64, 3)])
def test_mean_largest_share_is_the_mean_of_the_shares(n: int, alphabet: int) -> None:
    direct = sum(expected_largest_count(m, alphabet) / m for m in range(1, n + 1)) / n
    assert mean_largest_share(n, alphabet) == pytest.approx(direct, abs=1e-10)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_addition_blind_ceiling_against_enumeration(n: int) -> None:
    digits = torch.cartesian_prod(*[torch.arange(10)] * (2 * n))
    answers = torch.nn.functional.one_hot(add(digits[:, :n], digits[:, n:]), 10).sum(1)
    bags = digits.sort(1).values @ 10 ** torch.arange(2 * n)
    _, bag = bags.unique(return_inverse=True)
    occurs = torch.zeros(int(bag.max()) + 1, 10, dtype=torch.long).index_add_(0, bag, answers)
    exact = occurs.max(1).values.sum().item() / answers.sum().item()
    size = max(256, min(8192, 2**18 // n))
    share = answers.double() / (n + 1)
    error = share[torch.arange(len(bag)), occurs[bag].argmax(1)].std().item() / math.sqrt(size)
    for task in (ReversedAdditionDataset(causal=False), AdditionIndexHintsDataset(causal=False)):
        assert task.order_blind_ceiling(n) == pytest.approx(exact, abs=4 * error)
    assert ReversedAdditionDataset().order_blind_ceiling(n) is None


def test_order_aware_ceilings_and_the_controls() -> None:
    assert {task.order_aware_ceiling(32) for task in ALL.values()} == {1.0}
    assert SumModDataset().order_blind_ceiling(32) == 1.0
    assert SortDataset(causal=True).order_blind_ceiling(32) == 1.0
    assert SortDataset(causal=False).order_blind_ceiling(32) == pytest.approx(expected_largest_count(32, 20) / 32)
    assert [CopyDataset(copies=3).output_length(n) for n in (2, 7)] == [6, 21]
    assert ReversedAdditionDataset().output_length(7) == 8


@pytest.mark.parametrize("name", ALL)
def test_samples_come_from_the_generator_alone(name: str) -> None:
    task, before = ALL[name], torch.get_rng_state()
    a, b = (task.sample(generator(3, "x"), 50, 20) for _ in range(2))
    c, _ = task.sample(generator(4, "x"), 50, 20)
    assert torch.equal(a[0], b[0])
    assert torch.equal(a[1], b[1])
    assert not torch.equal(a[0], c)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (CopyDataset, {"alphabet": 1}, "alphabet must be a whole number ≥ 2, got 1"),
        (CopyDataset, {"copies": 0}, "copies must be a whole number ≥ 1, got 0"),
        (ReverseDataset, {"length": 1}, "length must be at least 2, got 1"),
        (SortDataset, {"alphabet": 2.5}, "alphabet must be a whole number ≥ 2, got 2.5"),
        (SumModDataset, {"modulus": 2}, "modulus must be a whole number ≥ 3, got 2"),
        (AdditionIndexHintsDataset, {"num_indices": 32}, "num_indices must be at least 33, got 32"),
        (AdditionIndexHintsDataset, {"test_lengths": [120]}, "num_indices must be at least 121, got 100"),
        (AdditionIndexHintsDataset, {"num_indices": "many"}, "num_indices must be a whole number"),
    ],
)
def test_mistakes(make: type[Task], options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**options)
