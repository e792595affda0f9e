"""Reversal, stacks, brackets and equations: Python oracles, ceilings and laws by enumeration."""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posenc.checks import ConfigError
from posenc.streams import generator
from posenc.tasks.base import IGNORE, Task
from posenc.tasks.context_free import ModularArithmeticBrackets, ReverseString, SolveEquation, StackManipulation
from posenc.tasks.parts.expressions import draw_expressions, value_frequencies


def oracle_reverse(x: list[int]) -> list[int]:
    return [x[len(x) - 1 - i] for i in range(len(x))]


def oracle_stack(x: list[int]) -> list[int]:
    stack = [token for token in x if token < 2]
    assert x[: len(stack)] == stack
    assert 0 < len(stack) < len(x)
    for token in x[len(stack) :]:
        if token == 2:
            stack = stack[:-1]
        else:
            stack.append(token - 3)
    return stack[::-1] + [2] + [IGNORE] * (len(x) - len(stack))


@pytest.mark.parametrize(("make", "oracle"), [(ReverseString, oracle_reverse), (StackManipulation, oracle_stack)])
@pytest.mark.parametrize("causal", [False, True])
@given(length=st.integers(2, 70), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_outputs_agree_with_an_independent_oracle(
    make: Callable[..., Task], oracle: Callable, causal: bool, length: int, seed: int
) -> None:
    task = make(causal=causal)
    tokens, targets = task.sample(generator(seed, "test"), 64, length)
    assert tokens.dtype == targets.dtype == torch.int64
    assert tokens.shape == targets.shape
    assert tokens.min() >= 0
    assert tokens.max() == task.vocab_size - 1
    for row, asked in zip(tokens.tolist(), targets.tolist(), strict=True):
        assert asked == [IGNORE] * length + oracle(row[:length])
        if causal:
            assert row[length] == task.num_outputs
            ignored = asked[length:].count(IGNORE)
            assert row[length + 1 :] == (asked[length:][: len(asked) - length - ignored] + [0] * ignored)[:-1]
        else:
            assert set(row[length:]) == {task.num_outputs}
    assert task.order_aware_ceiling(length) == 1.0
    assert (task.order_blind_ceiling(min(length, 20)) is None) == (causal and make is StackManipulation)


@pytest.mark.parametrize(
    ("x", "y"), [([0, 1, 1, 0, 4, 2, 2], [1, 1, 0, 2]), ([1, 1, 0, 2, 2, 2], [2]), ([1, 2, 2, 2, 3], [0, 2])]
)
def test_stack_examples_of_deletang(x: list[int], y: list[int]) -> None:
    tokens, targets = StackManipulation().sample(generator(0, "drawn"), 60_000, len(x))
    found = targets[(tokens[:, : len(x)] == torch.tensor(x)).all(1)]
    assert len(found)
    assert found[:, len(x) :].tolist() == [y + [IGNORE] * (len(x) + 1 - len(y))] * len(found)


@pytest.mark.parametrize(("alphabet", "x", "y"), [(2, "011010", "010110"), (4, "123021", "120321")])
def test_reversal_examples_of_deletang(alphabet: int, x: str, y: str) -> None:
    drawn, reversed_ = ReverseString(alphabet=alphabet).pairs(generator(0, "drawn"), 40_000, 6)
    found = reversed_[(drawn == torch.tensor([int(symbol) for symbol in x])).all(1)]
    assert {"".join(map(str, row)) for row in found.tolist()} == {y}


def test_stack_law() -> None:
    """Heights are uniform in 1 .. n − 1, and bits and actions are uniform."""
    tokens, _ = StackManipulation().sample(generator(0, "law"), 40_000, 5)
    x = tokens[:, :5]
    heights = (x < 2).sum(1)
    torch.testing.assert_close(
        torch.bincount(heights, minlength=5)[1:] / 40_000, torch.full((4,), 0.25), atol=0.01, rtol=0
    )
    counts = torch.bincount(x.flatten(), minlength=5)
    assert (counts[0] / (counts[0] + counts[1])).item() == pytest.approx(0.5, abs=0.007)
    torch.testing.assert_close(counts[2:] / counts[2:].sum(), torch.full((3,), 1 / 3), atol=0.006, rtol=0)


@pytest.mark.parametrize("length", [2, 3, 4, 6])
def test_stack_blind_ceiling_by_enumeration(length: int) -> None:
    kinds: dict[tuple[int, ...], np.ndarray] = {}
    for height in range(1, length):
        spaces = [range(2)] * height + [range(2, 5)] * (length - height)
        weight = 1 / (length - 1) / 2**height / 3 ** (length - height)
        for x in itertools.product(*spaces):
            y = oracle_stack(list(x))
            counts = np.array([y.count(0), y.count(1), y.count(2)]) * weight
            kinds[tuple(sorted(x))] = kinds.get(tuple(sorted(x)), 0) + counts
    asked = sum(counts.sum() for counts in kinds.values())
    exact = sum(counts.max() for counts in kinds.values()) / asked
    assert StackManipulation().order_blind_ceiling(length) == pytest.approx(exact)


def test_stack_blind_ceiling_from_drawn_bags(monkeypatch: pytest.MonkeyPatch) -> None:
    task = StackManipulation()
    exact = [task.order_blind_ceiling(length) for length in (6, 20)]
    monkeypatch.setattr(task, "_all_bags", lambda n: (task._drawn_bags(n, 50_000), np.full(50_000, 1 / 50_000)))
    assert [task.order_blind_ceiling(length) for length in (6, 20)] == pytest.approx(exact, abs=0.003)


def test_reversal_blind_ceiling_against_monte_carlo() -> None:
    for alphabet in (2, 5):
        task = ReverseString(alphabet=alphabet)
        _, y = task.pairs(generator(0, "mc"), 20_000, 12)
        share = torch.stack([(y == symbol).double().mean(1) for symbol in range(alphabet)]).amax(0)
        error = share.std().item() / math.sqrt(20_000)
        assert task.order_blind_ceiling(12) == pytest.approx(share.mean().item(), abs=4 * error)
    # The best guess of the first output is right with probability 3/4, and that of the second always.
    assert ReverseString(causal=True).order_blind_ceiling(2) == pytest.approx(7 / 8)


def text(tokens: list[int], symbols: str) -> str:
    return "".join(symbols[token] for token in tokens)


BRACKETS = {True: "01234+-*()", False: "01234+-()"}
EQUATION = "01234+-()x="


@pytest.mark.parametrize("mult", [False, True])
@given(length=st.integers(1, 70), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_values_agree_with_python(mult: bool, length: int, seed: int) -> None:
    task = ModularArithmeticBrackets(mult=mult)
    tokens, targets = task.sample(generator(seed, "test"), 64, length)
    assert tokens.shape == (64, length)
    assert tokens.dtype == targets.dtype == torch.int64
    assert task.vocab_size == len(BRACKETS[mult])
    texts = [text(row, BRACKETS[mult]) for row in tokens.tolist()]
    assert [eval(expression) % 5 for expression in texts] == targets.tolist()
    assert task.order_aware_ceiling(length) == 1.0


@given(length=st.integers(3, 70), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_the_answer_is_the_only_solution(length: int, seed: int) -> None:
    task = SolveEquation()
    tokens, targets = task.sample(generator(seed, "test"), 32, length)
    assert tokens.shape == (32, length)
    assert tokens.max() < task.vocab_size == len(EQUATION)
    for row, target in zip(tokens.tolist(), targets.tolist(), strict=True):
        left, right = text(row, EQUATION).split("=")
        assert left.count("x") == 1
        assert [x for x in range(5) if eval(left.replace("x", str(x))) % 5 == int(right)] == [target]
    assert task.order_aware_ceiling(length) == 1.0


def test_other_moduli() -> None:
    tokens, targets = ModularArithmeticBrackets(modulus=7).sample(generator(0, "m"), 200, 25)
    assert [eval(text(row, "0123456+-*()")) % 7 for row in tokens.tolist()] == targets.tolist()


@pytest.mark.parametrize("task", [ReverseString(), StackManipulation(), ModularArithmeticBrackets(), SolveEquation()])
def test_samples_come_from_the_generator_alone(task: Task) -> None:
    before = torch.get_rng_state()
    a, b = (task.sample(generator(3, "x"), 50, 32) for _ in range(2))
    assert torch.equal(a[0], b[0])
    assert torch.equal(a[1], b[1])
    assert not torch.equal(a[0], task.sample(generator(4, "x"), 50, 32)[0])
    assert torch.equal(torch.get_rng_state(), before)


@cache
def law(length: int, operators: str) -> dict[str, float]:
    """{expression: probability} of E(n), written as in the source, with the digits 0, 1 and 2."""
    if length < 5:
        form = {1: "{}", 2: "-{}", 3: "({})", 4: "(-{})"}[length]
        return {form.format(digit): 1 / 3 for digit in range(3)}
    found: dict[str, float] = {}
    for left in range(1, length - 3):
        for (a, p), (b, q) in itertools.product(
            law(left, operators).items(), law(length - 3 - left, operators).items()
        ):
            for operator in operators:
                expression = f"({a}{operator}{b})"
                probability = p * q / (length - 4) / len(operators)
                found[expression] = found.get(expression, 0) + probability
    return found


@pytest.mark.parametrize(("length", "operators"), [(4, "+-"), (7, "+-*"), (8, "+-")])
def test_expressions_follow_the_law_of_deletang(length: int, operators: str) -> None:
    draws = 60_000
    tokens, _ = draw_expressions(generator(0, "law"), draws, length, 3, len(operators))
    counts = Counter(text(row, f"012{operators}()") for row in tokens.tolist())
    expected = law(length, operators)
    assert set(counts) <= set(expected)
    deviation = [(counts[e] - draws * p) / math.sqrt(draws * p) for e, p in expected.items()]
    assert max(map(abs, deviation)) < 5
    assert np.mean(np.square(deviation)) == pytest.approx(1, abs=6 * math.sqrt(2 / len(deviation)))


def test_value_frequencies_by_enumeration() -> None:
    for length in (3, 7, 9):
        exact = np.zeros(3)
        for expression, probability in law(length, "+-*").items():
            exact[eval(expression) % 3] += probability
        np.testing.assert_allclose(value_frequencies(length, 3, 3), exact)


def test_the_most_frequent_value_is_what_is_seen() -> None:
    task = ModularArithmeticBrackets()
    _, targets = task.sample(generator(0, "most"), 20_000, 32)
    reference = task.references()["most_frequent_value"]
    assert (targets == 0).double().mean().item() == pytest.approx(reference, abs=4 * 0.46 / math.sqrt(20_000))
    assert ModularArithmeticBrackets(mult=False).references()["most_frequent_value"] == pytest.approx(0.2)


def test_equations_draw_a_place_and_take_the_next_digit() -> None:
    """In (a+−b), three of six places lead to a: (, a and ). In the other tree, (−a+b), four do: (, −, a and )."""
    tokens, targets = SolveEquation().sample(generator(0, "places"), 40_000, 8)
    x = (tokens == 9).int().argmax(1)
    second = tokens[:, 1] == 6
    assert (x[~second] == 1).double().mean().item() == pytest.approx(3 / 6, abs=0.015)
    assert (x[second] == 2).double().mean().item() == pytest.approx(4 / 6, abs=0.015)
    share = torch.bincount(targets, minlength=5) / 40_000
    torch.testing.assert_close(share, torch.full((5,), 0.2), atol=0.008, rtol=0)


def equations(length: int) -> Iterator[tuple[str, int, float]]:
    for expression, probability in law(length - 2, "+-").items():
        value = eval(expression) % 3
        for place in range(len(expression)):
            digit = next(i % len(expression) for i in range(place, 99) if expression[i % len(expression)].isdigit())
            equation = f"{expression[:digit]}x{expression[digit + 1 :]}={value}"
            yield equation, int(expression[digit]), probability / len(expression)


def values(length: int) -> Iterator[tuple[str, int, float]]:
    for expression, probability in law(length, "+-").items():
        yield expression, eval(expression) % 3, probability


@pytest.mark.parametrize(
    ("task", "sequences"),
    [(ModularArithmeticBrackets(modulus=3, mult=False), values), (SolveEquation(modulus=3), equations)],
)
@pytest.mark.parametrize("length", [7, 9, 11])
def test_measured_blind_ceilings_by_enumeration(task: Task, sequences: Callable, length: int) -> None:
    bags: dict[tuple[str, ...], Counter[int]] = {}
    for sequence, label, probability in sequences(length):
        bags.setdefault(tuple(sorted(sequence)), Counter())[label] += probability
    exact = sum(max(classes.values()) for classes in bags.values())
    assert task.order_blind_ceiling(length) == pytest.approx(exact, abs=4 * 0.35 / math.sqrt(8192))


def test_blind_ceilings_of_long_expressions() -> None:
    assert ModularArithmeticBrackets().order_blind_ceiling(32) is None
    for task in (ModularArithmeticBrackets(mult=False), SolveEquation()):
        short, middle, long = (task.order_blind_ceiling(length) or 0 for length in (16, 32, 100))
        assert short > middle > long >= 0.2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ReverseString(alphabet=1), "alphabet must be a whole number ≥ 2, got 1"),
        (lambda: ReverseString(length=1), "length must be at least 2, got 1"),
        (lambda: StackManipulation(length=1), "length must be at least 2, got 1"),
        (lambda: ModularArithmeticBrackets(modulus=1), "modulus must be a whole number ≥ 2, got 1"),
        (lambda: ModularArithmeticBrackets(mult="no"), "mult must be true or false, got 'no'"),  # pyright: ignore
        (lambda: SolveEquation(length=2), "length must be at least 3, got 2"),
        (lambda: SolveEquation(modulus=0), "modulus must be a whole number ≥ 2, got 0"),
    ],
)
def test_mistakes(make: Callable[[], Task], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
