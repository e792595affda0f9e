"""Even pairs, parity, cycle navigation and modular arithmetic: Python oracles, ceilings by enumeration."""

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
from posenc.tasks.base import Task, skill
from posenc.tasks.regular import CycleNavigation, EvenPairs, ModularArithmetic, Parity


def oracle_even_pairs(tokens: list[int]) -> int:
    return sum(pair in ((0, 1), (1, 0)) for pair in itertools.pairwise(tokens)) % 2


def oracle_parity(tokens: list[int]) -> int:
    return tokens.count(1) % 2


def oracle_cycle(tokens: list[int]) -> int:
    place = 0
    for token in tokens:
        place = {0: [4, 0, 1, 2, 3], 1: [0, 1, 2, 3, 4], 2: [1, 2, 3, 4, 0]}[token][place]
    return place


def oracle_arithmetic(tokens: list[int]) -> int:
    assert len(tokens) % 2 == 1
    assert all((token >= 5) == bool(i % 2) for i, token in enumerate(tokens))
    return eval("".join("01234+-*"[token] for token in tokens)) % 5


TASKS = {
    "even_pairs": (EvenPairs(), oracle_even_pairs, 2),
    "parity": (Parity(), oracle_parity, 1),
    "cycle_navigation": (CycleNavigation(), oracle_cycle, 1),
    "modular_arithmetic": (ModularArithmetic(), oracle_arithmetic, 1),
}


@pytest.mark.parametrize("name", TASKS)
@given(more=st.integers(0, 60), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_labels_agree_with_an_independent_oracle(name: str, more: int, seed: int) -> None:
    task, oracle, shortest = TASKS[name]
    length = shortest + more
    tokens, targets = task.sample(generator(seed, "test"), 64, length)
    assert tokens.shape == (64, length - (name == "modular_arithmetic" and length % 2 == 0))
    assert tokens.dtype == targets.dtype == torch.int64
    assert tokens.min() >= 0
    assert tokens.max() < task.vocab_size
    assert [oracle(row) for row in tokens.tolist()] == targets.tolist()
    assert task.order_aware_ceiling(length) == 1.0


@pytest.mark.parametrize("name", TASKS)
def test_samples_come_from_the_generator_alone(name: str) -> None:
    task = TASKS[name][0]
    before = torch.get_rng_state()
    a, b = (task.sample(generator(3, "x"), 50, 32) for _ in range(2))
    assert torch.equal(a[0], b[0])
    assert torch.equal(a[1], b[1])
    assert not torch.equal(a[0], task.sample(generator(4, "x"), 50, 32)[0])
    assert torch.equal(torch.get_rng_state(), before)


def answer(task: Task, tokens: list[int]) -> int:
    """The task's answer to these tokens, which occur among 20,000 draws."""
    drawn, targets = task.sample(generator(0, "drawn"), 20_000, len(tokens))
    (found,) = targets[(drawn == torch.tensor(tokens)).all(1)].unique().tolist()
    return found


@pytest.mark.parametrize(
    ("task", "tokens", "label"),
    [
        (EvenPairs(), "001110", 0),
        (EvenPairs(), "0101001", 1),
        (Parity(), "1010100", 1),
        (Parity(), "01111", 0),
        (CycleNavigation(), "20100", 3),
        (CycleNavigation(), "2220", 2),
        (ModularArithmetic(operators="+*"), "15273", 2),
        (ModularArithmetic(operators="-"), "16161", 4),
    ],
)
def test_examples_of_deletang(task: Task, tokens: str, label: int) -> None:
    assert answer(task, [int(token) for token in tokens]) == label


@pytest.mark.parametrize(("text", "value"), [("1+2*3", 2), ("1-1-1", 4), ("0*1+4*3-2", 0)])
def test_arithmetic_examples_of_deletang(text: str, value: int) -> None:
    codes = np.array(["01234+-*".index(symbol) for symbol in text])
    assert ModularArithmetic()._value(codes[::2], codes[1::2]) == value


@pytest.mark.parametrize("modulus", [2, 7])
@pytest.mark.parametrize("operators", ["+", "-*", "*+-"])
def test_arithmetic_options(modulus: int, operators: str) -> None:
    tokens, targets = ModularArithmetic(modulus=modulus, operators=operators).sample(generator(0, "o"), 200, 21)
    symbols = "".join(map(str, range(modulus))) + "+-*"
    texts = ["".join(symbols[token] for token in row) for row in tokens.tolist()]
    assert [eval(text) % modulus for text in texts] == targets.tolist()
    assert set("".join(texts)) - set("0123456789") == set(operators)


def test_other_circles() -> None:
    tokens, targets = CycleNavigation(cycle_length=3).sample(generator(0, "c"), 500, 9)
    assert [(row.count(2) - row.count(0)) % 3 for row in tokens.tolist()] == targets.tolist()


@pytest.mark.parametrize("name", ["even_pairs", "parity"])
@pytest.mark.parametrize("length", [2, 5, 32])
def test_classes_are_balanced(name: str, length: int) -> None:
    _, targets = TASKS[name][0].sample(generator(0, "balance"), 40_000, length)
    assert targets.double().mean().item() == pytest.approx(0.5, abs=4 * 0.5 / 200)


def blind(sequences: list[tuple[int, ...]], oracle: Callable[[list[int]], int]) -> float:
    """The order-blind ceiling of equally likely sequences, by enumeration."""
    bags: dict[tuple[int, ...], Counter[int]] = {}
    for sequence in sequences:
        bags.setdefault(tuple(sorted(sequence)), Counter())[oracle(list(sequence))] += 1
    return sum(max(classes.values()) for classes in bags.values()) / len(sequences)


@pytest.mark.parametrize("name", ["even_pairs", "parity", "cycle_navigation"])
@pytest.mark.parametrize("length", [2, 3, 6, 7])
def test_blind_ceilings_by_enumeration(name: str, length: int) -> None:
    task, oracle, _ = TASKS[name]
    sequences = list(itertools.product(range(task.vocab_size), repeat=length))
    assert task.order_blind_ceiling(length) == pytest.approx(blind(sequences, oracle))


@pytest.mark.parametrize("length", [1, 3, 5, 7])
def test_arithmetic_blind_ceiling_by_enumeration(length: int) -> None:
    places = [range(5, 8) if i % 2 else range(5) for i in range(length)]
    exact = blind(list(itertools.product(*places)), oracle_arithmetic)
    bags = 4096 // ((length + 1) // 2)
    assert ModularArithmetic().order_blind_ceiling(length) == pytest.approx(
        exact, abs=4 * 0.35 / math.sqrt(bags) + 0.005
    )
    assert ModularArithmetic().order_blind_ceiling(length + 1) == pytest.approx(exact, abs=0.05)


def test_long_expressions_say_little_to_the_order_blind() -> None:
    ceilings = [ModularArithmetic().order_blind_ceiling(length) for length in (9, 17, 31)]
    assert ceilings == sorted(ceilings, reverse=True)
    assert 0.2 <= ceilings[-1] < 0.21
    assert ModularArithmetic(operators="+").order_blind_ceiling(31) == 1.0


@pytest.mark.parametrize("task", [Parity(), CycleNavigation()])
def test_skill_is_undefined_where_the_bag_says_all(task: Task) -> None:
    assert skill(0.7, task.order_blind_ceiling(32), task.order_aware_ceiling(32)) is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EvenPairs(length=1), "length must be at least 2, got 1"),
        (lambda: CycleNavigation(cycle_length=1), "cycle_length must be a whole number ≥ 2, got 1"),
        (lambda: ModularArithmetic(modulus=1), "modulus must be a whole number ≥ 2, got 1"),
        (lambda: ModularArithmetic(operators="+/"), r"operators must be some of \+-\*, each once, got '\+/'"),
        (lambda: ModularArithmetic(operators="++"), "each once"),
        (lambda: ModularArithmetic(operators=""), "got ''"),
    ],
)
def test_mistakes(make: Callable[[], Task], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
