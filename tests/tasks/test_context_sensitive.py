"""Copies, sorting and binary arithmetic: oracles with Python's whole numbers, ceilings by enumeration."""

import itertools
import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posenc.checks import ConfigError
from posenc.streams import generator
from posenc.tasks.base import IGNORE, Task, skill
from posenc.tasks.context_sensitive import (
    BinaryAddition,
    BinaryMultiplication,
    BucketSort,
    ComputeSqrt,
    DuplicateString,
    MissingDuplicate,
    OddsFirst,
)
from posenc.tasks.parts import bits


def number(bits: list[int]) -> int:
    """The number of these bits, least significant first."""
    return int("".join(map(str, reversed(bits))), 2)


def operation(x: list[int], width: int, result: Callable[[int, int], int]) -> list[int]:
    sign = x.index(2)
    a, b = x[:sign], x[sign + 1 :]
    assert 1 in a
    assert 1 in b
    assert 2 not in b
    digits = [int(digit) for digit in f"{result(number(a), number(b)):b}"[::-1]] + [2]
    return digits + [IGNORE] * (width - len(digits))


def oracle_sqrt(x: list[int]) -> list[int]:
    assert 1 in x
    return [int(digit) for digit in f"{math.isqrt(number(x[::-1])):b}".zfill(math.ceil(len(x) / 2))]


TRANSDUCTIONS: dict[str, tuple[Callable[..., Task], Callable[[list[int]], list[int]], int]] = {
    "duplicate_string": (DuplicateString, lambda x: x + x, 2),
    "odds_first": (
        OddsFirst,
        lambda x: [s for i, s in enumerate(x, 1) if i % 2] + [s for i, s in enumerate(x, 1) if i % 2 == 0],
        2,
    ),
    "bucket_sort": (BucketSort, sorted, 2),
    "binary_addition": (BinaryAddition, lambda x: operation(x, len(x) + 1, lambda a, b: a + b), 3),
    "binary_multiplication": (BinaryMultiplication, lambda x: operation(x, len(x), lambda a, b: a * b), 3),
    "compute_sqrt": (ComputeSqrt, oracle_sqrt, 1),
}
BINARY = ("binary_addition", "binary_multiplication", "compute_sqrt")


@pytest.mark.parametrize("name", TRANSDUCTIONS)
@pytest.mark.parametrize("causal", [False, True])
@given(more=st.integers(0, 260), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_outputs_agree_with_an_independent_oracle(name: str, causal: bool, more: int, seed: int) -> None:
    make, oracle, shortest = TRANSDUCTIONS[name]
    task, length = make(causal=causal), shortest + more
    tokens, targets = task.sample(generator(seed, "test"), 32, length)
    assert tokens.dtype == targets.dtype == torch.int64
    assert tokens.shape == targets.shape
    assert tokens.min() >= 0
    assert tokens.max() == task.vocab_size - 1
    for row, asked in zip(tokens.tolist(), targets.tolist(), strict=True):
        y = oracle(row[:length])
        assert asked == [IGNORE] * length + y
        if causal:
            assert row[length:] == [task.num_outputs] + [max(symbol, 0) for symbol in y[:-1]]
        else:
            assert row[length:] == [task.num_outputs] * len(y)
    assert task.order_aware_ceiling(length) == 1.0


@given(length=st.integers(2, 70), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_the_missing_bit_is_that_of_the_twin(length: int, seed: int) -> None:
    tokens, targets = MissingDuplicate().sample(generator(seed, "test"), 64, length)
    assert tokens.shape == (64, length)
    for row, target in zip(tokens.tolist(), targets.tolist(), strict=True):
        half = length // 2
        assert row[2 * half :] == [3] * (length % 2)
        hole = row.index(2)
        whole = [target if token == 2 else token for token in row[: 2 * half]]
        assert whole[:half] == whole[half:]
        assert target == row[(hole + half) % (2 * half)]
        assert target == row.count(1) % 2  # what the bag says


@pytest.mark.parametrize("name", [*TRANSDUCTIONS, "missing_duplicate"])
def test_samples_come_from_the_generator_alone(name: str) -> None:
    task = MissingDuplicate() if name == "missing_duplicate" else TRANSDUCTIONS[name][0]()
    before = torch.get_rng_state()
    a, b = (task.sample(generator(3, "x"), 50, 32) for _ in range(2))
    assert torch.equal(a[0], b[0])
    assert torch.equal(a[1], b[1])
    assert not torch.equal(a[0], task.sample(generator(4, "x"), 50, 32)[0])
    assert torch.equal(torch.get_rng_state(), before)


EXAMPLES = [
    (DuplicateString(), "101", "101101"),
    (DuplicateString(), "111111", "111111111111"),
    (OddsFirst(), "00110101", "01000111"),
    (OddsFirst(), "110", "101"),
    (BucketSort(), "10204112", "00111224"),
    (BucketSort(alphabet=2), "1110001", "0001111"),
    (BinaryAddition(), "001201101", "010112"),
    (BinaryAddition(), "10012000001", "1001012"),
    (BinaryMultiplication(), "001201101", "00011012"),
    (BinaryMultiplication(), "10012000001", "0000010012"),
    (ComputeSqrt(), "100101", "110"),  # the source's docstring says 6, and writes it 101
    (ComputeSqrt(), "111", "10"),
    (MissingDuplicate(), "01100210", "1"),
    (MissingDuplicate(), "1011213", "0"),
]


@pytest.mark.parametrize(("task", "x", "y"), EXAMPLES)
def test_examples_of_deletang(task: Task, x: str, y: str) -> None:
    """The examples of the source occur among many draws, with the answer of the source."""
    wanted = torch.tensor([int(symbol) for symbol in x])
    draws = (task.sample(generator(attempt, "drawn"), 50_000, len(x)) for attempt in range(40))
    hits = (targets[(tokens[:, : len(x)] == wanted).all(1)] for tokens, targets in draws)
    answers = next(found for found in hits if len(found))
    answers = answers.reshape(len(answers), -1)
    assert {"".join(str(symbol) for symbol in row if symbol != IGNORE) for row in answers.tolist()} == {y}


@pytest.mark.parametrize("width", [1, 2, 23, 24, 25, 48, 62, 63, 64, 65, 101, 102, 103, 104, 110, 300])
def test_arithmetic_is_exact_at_any_width(width: int) -> None:
    lengths = torch.randint(1, width + 1, (2, 60), generator=generator(0, "w"))
    lengths[:, 0] = width
    pair = bits.draw_positive(generator(0, "n"), lengths, width)
    pair[:, 0] = 1  # the largest numbers, with all possible carries
    a, b = ([number(row) for row in half] for half in pair.tolist())
    assert all(0 < n < 2**k for n, k in zip(a, lengths[0].tolist(), strict=True))
    assert bits.width(pair[0]).tolist() == [n.bit_length() for n in a]
    assert [number(row) for row in bits.add(*pair).tolist()] == [p + q for p, q in zip(a, b, strict=True)]
    assert [number(row) for row in bits.multiply(*pair).tolist()] == [p * q for p, q in zip(a, b, strict=True)]
    roots = bits.square_root(pair[0].flip(1)).flip(1)
    assert [number(row) for row in roots.tolist()] == [math.isqrt(n) for n in a]


def test_roots_of_squares_and_their_neighbours() -> None:
    for root in (2**30 + 3, 2**56 - 1, 2**60 - 1, 3**60):
        for x in (root**2 - 1, root**2, root**2 + 2 * root):
            row = torch.tensor([[int(digit) for digit in f"{x:b}"]])
            assert number(bits.square_root(row).flip(1)[0].tolist()) == math.isqrt(x)


@pytest.mark.parametrize("length", [1, 2, 3, 6])
def test_numbers_are_uniform_from_one(length: int) -> None:
    rows = bits.draw_positive(generator(0, "uniform"), torch.full((60_000,), length), length)
    counts = torch.bincount((rows * 2 ** torch.arange(length)).sum(1), minlength=2**length)
    assert counts[0] == 0
    expected = 60_000 / (2**length - 1)
    assert ((counts[1:] - expected).abs() / math.sqrt(expected)).max() < 4.5


def test_the_sign_stands_uniformly() -> None:
    tokens, _ = BinaryAddition().sample(generator(0, "sign"), 30_000, 8)
    places = torch.bincount((tokens[:, :8] == 2).int().argmax(1), minlength=8)
    assert places[0] == places[7] == 0
    torch.testing.assert_close(places[1:7] / 30_000, torch.full((6,), 1 / 6), atol=0.009, rtol=0)


@pytest.mark.parametrize("make", [OddsFirst, DuplicateString, BucketSort])
@pytest.mark.parametrize("alphabet", [2, 3])
@pytest.mark.parametrize("length", [2, 3, 5])
def test_blind_ceilings_under_teacher_forcing_by_enumeration(
    make: Callable[..., Task], alphabet: int, length: int
) -> None:
    """At a slot an order-blind model knows the bag of the input, the bag of the output so far, and the slot's token."""
    task = make(alphabet=alphabet, causal=True)
    oracle = next(oracle for other, oracle, _ in TRANSDUCTIONS.values() if other is make)
    kinds: dict[tuple, Counter[int]] = {}
    for x in itertools.product(range(alphabet), repeat=length):
        y = oracle(list(x))
        for slot, symbol in enumerate(y):
            known = (tuple(sorted(x)), tuple(sorted(y[:slot])), y[slot - 1] if slot else None)
            kinds.setdefault(known, Counter())[symbol] += 1
    exact = sum(max(of.values()) for of in kinds.values()) / sum(of.total() for of in kinds.values())
    assert task.order_blind_ceiling(length) == pytest.approx(exact)


@pytest.mark.parametrize("make", [DuplicateString, OddsFirst, BucketSort])
@pytest.mark.parametrize("alphabet", [2, 5])
def test_blind_ceilings_of_rearrangements_against_monte_carlo(make: Callable[..., Task], alphabet: int) -> None:
    task = make(alphabet=alphabet)
    _, targets = task.sample(generator(0, "mc"), 20_000, 13)
    y = targets[:, 13:]
    share = torch.stack([(y == symbol).double().mean(1) for symbol in range(alphabet)]).amax(0)
    error = share.std().item() / math.sqrt(20_000)
    assert task.order_blind_ceiling(13) == pytest.approx(share.mean().item(), abs=4 * error)


def numbers(name: str, length: int) -> list[tuple[list[int], float]]:
    """Every input of a binary task, with its probability."""

    def all_of(width: int) -> list[list[int]]:
        return [[int(digit) for digit in f"{n:b}".zfill(width)] for n in range(1, 2**width)]

    if name == "compute_sqrt":
        return [(x, 1 / (2**length - 1)) for x in all_of(length)]
    found = []
    for first in range(1, length - 1):
        pairs = [[*a, 2, *b] for a in all_of(first) for b in all_of(length - 1 - first)]
        found += [(x, 1 / len(pairs) / (length - 2)) for x in pairs]
    return found


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("length", [4, 7, 9])
def test_measured_blind_ceilings_by_enumeration(name: str, length: int) -> None:
    make, oracle, _ = TRANSDUCTIONS[name]
    kinds: dict[tuple[int, ...], np.ndarray] = {}
    for x, probability in numbers(name, length):
        y = oracle(x)
        bag = tuple(sorted(x))
        kinds[bag] = kinds.get(bag, 0) + probability * np.array([y.count(symbol) for symbol in range(3)])
    exact = sum(counts.max() for counts in kinds.values()) / sum(counts.sum() for counts in kinds.values())
    assert make().order_blind_ceiling(length) == pytest.approx(exact, abs=4 * 0.25 / math.sqrt(8192))
    assert make(causal=True).order_blind_ceiling(length) is None


def test_the_missing_bit_is_balanced_and_needs_no_order() -> None:
    task = MissingDuplicate()
    tokens, targets = task.sample(generator(0, "balance"), 40_000, 6)
    assert targets.double().mean().item() == pytest.approx(0.5, abs=0.01)
    holes = torch.bincount((tokens == 2).int().argmax(1), minlength=6) / 40_000
    torch.testing.assert_close(holes, torch.full((6,), 1 / 6), atol=0.008, rtol=0)
    assert skill(0.9, task.order_blind_ceiling(6), task.order_aware_ceiling(6)) is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DuplicateString(alphabet=1), "DuplicateString: dataset.alphabet must be a whole number ≥ 2, got 1"),
        (lambda: OddsFirst(alphabet=0), "alphabet must be a whole number ≥ 2, got 0"),
        (lambda: BucketSort(alphabet=1), "BucketSort: dataset.alphabet must be a whole number ≥ 2, got 1"),
        (lambda: BucketSort(length=1), "length must be at least 2, got 1"),
        (lambda: MissingDuplicate(length=1), "length must be at least 2, got 1"),
        (lambda: BinaryAddition(length=2), "length must be at least 3, got 2"),
        (lambda: BinaryMultiplication(test_lengths=[2]), "each of dataset.test_lengths must be at least 3, got 2"),
        (lambda: ComputeSqrt(length=0), "length must be a whole number ≥ 1, got 0"),
    ],
)
def test_mistakes(make: Callable[[], Task], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
