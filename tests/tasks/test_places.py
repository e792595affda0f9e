"""The laws of abs_pattern, rel_pattern, signed_distance, first_of and last_of: independent oracles, exact ceilings."""

import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency

from posenc.checks import ConfigError
from posenc.streams import generator
from posenc.tasks.base import Task
from posenc.tasks.distance import SignedDistance
from posenc.tasks.places import AbsolutePattern, FirstOf, LastOf, RelativePattern


def the_places(tokens: list[int]) -> tuple[int, int]:
    assert tokens.count(5) == 1
    assert tokens.count(8) == 1
    return tokens.index(5), tokens.index(8)


def oracle_abs_pattern(tokens: list[int]) -> int:
    return {(3, 7): 0, (9, 13): 1, (16, 20): 2}[the_places(tokens)]


def oracle_early_pattern(tokens: list[int]) -> int:
    five, eight = the_places(tokens)
    assert eight == five + 1
    return five


def oracle_rel_pattern(tokens: list[int]) -> int:
    five, eight = the_places(tokens)
    return {-2: 0, -1: 1, 1: 2, 2: 3}[eight - five]


def oracle_signed_distance(tokens: list[int]) -> int:
    five, eight = the_places(tokens)
    unsigned = min(3, (abs(five - eight) - 1) * 4 // 31)  # bins of the trained length, 32, whatever the length
    return 4 + unsigned if five < eight else 3 - unsigned


def oracle_first_of(tokens: list[int]) -> int:
    assert all(tokens.count(value) == 1 for value in range(4))
    return next(token for token in tokens if token < 4)


def oracle_last_of(tokens: list[int]) -> int:
    return oracle_first_of(tokens[::-1])


TASKS: dict[str, tuple[Task, Callable[[list[int]], int], int, int]] = {
    "abs_pattern": (AbsolutePattern(), oracle_abs_pattern, 21, 3),
    "early_pattern": (AbsolutePattern(places=[[0, 1], [1, 2], [2, 3]]), oracle_early_pattern, 4, 3),
    "rel_pattern": (RelativePattern(), oracle_rel_pattern, 3, 4),
    "signed_distance": (SignedDistance(), oracle_signed_distance, 5, 8),
    "first_of": (FirstOf(), oracle_first_of, 4, 4),
    "last_of": (LastOf(), oracle_last_of, 4, 4),
}


@pytest.mark.parametrize("name", TASKS)
@given(length=st.integers(0, 60), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_labels_agree_with_an_independent_oracle(name: str, length: int, seed: int) -> None:
    task, oracle, shortest, _ = TASKS[name]
    assert task.min_length == shortest
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
def test_classes_are_uniform_and_ceilings_are_theirs(name: str) -> None:
    task, _, _, classes = TASKS[name]
    assert task.num_outputs == classes
    assert task.order_blind_ceiling(32) == 1 / classes
    assert task.order_aware_ceiling(32) == 1.0
    _, targets = task.sample(generator(0, "uniform"), 60_000, 32)
    counts = torch.bincount(targets, minlength=classes).double()
    assert (counts / 60_000 - 1 / classes).abs().max() < 4 * 0.5 / math.sqrt(60_000)


@pytest.mark.slow
@pytest.mark.parametrize(
    "task",
    [
        AbsolutePattern(vocab_size=10, length=6, places=[[0, 2], [3, 1], [5, 4]]),
        RelativePattern(vocab_size=10, length=6, offsets=[-3, 1, 2]),
        SignedDistance(length=6, vocab_size=10, num_classes=4),
        FirstOf(vocab_size=5, num_classes=3),
        LastOf(vocab_size=5, num_classes=3),
    ],
    ids=str,
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
    assert table.sum() > 5000
    assert float(chi2_contingency(table)[1]) > 1e-4  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", TASKS)
def test_background_is_uniform(name: str) -> None:
    """In the cells without a marked value all other values are equally frequent."""
    task, _, _, _ = TASKS[name]
    tokens, _ = task.sample(generator(0, "background"), 10_000, 32)
    marked = {0, 1, 2, 3} if isinstance(task, FirstOf) else {5, 8}
    counts = torch.bincount(tokens.flatten(), minlength=20).double()
    assert all(counts[value] == 10_000 for value in marked)
    others = counts[[value for value in range(20) if value not in marked]]
    expected = others.sum() / len(others)
    assert (others - expected).abs().max() < 4.5 * math.sqrt(expected)


def test_rel_pattern_is_uniform_over_the_places_that_fit() -> None:
    tokens, targets = RelativePattern().sample(generator(0, "places"), 60_000, 8)
    five, eight = ((tokens == marker).int().argmax(1) for marker in (5, 8))
    for label, offset in enumerate((-2, -1, 1, 2)):
        left = torch.minimum(five, eight)[targets == label]
        share = torch.bincount(left, minlength=8).double() / len(left)
        expected = torch.tensor([1 / (8 - abs(offset)) if i < 8 - abs(offset) else 0.0 for i in range(8)]).double()
        torch.testing.assert_close(share, expected, atol=0.014, rtol=0)


def test_signed_distance_is_uniform_within_its_bin() -> None:
    tokens, targets = SignedDistance(length=9, num_classes=4).sample(generator(0, "d"), 60_000, 9)
    five, eight = ((tokens == marker).int().argmax(1) for marker in (5, 8))
    for label, lowest in enumerate((-8, -4, 1, 5)):
        share = torch.bincount((eight - five)[targets == label] - lowest, minlength=4) / (targets == label).sum()
        torch.testing.assert_close(share, torch.full((4,), 0.25), atol=0.015, rtol=0)


def test_marked_values_of_first_of_stand_anywhere() -> None:
    tokens, _ = FirstOf(num_classes=3).sample(generator(0, "anywhere"), 60_000, 5)
    orders = Counter(tuple((row == value).nonzero()[0].item() for value in range(3)) for row in tokens[:12_000])
    assert len(orders) == 60  # 5·4·3 arrangements
    assert max(abs(count - 200) for count in orders.values()) < 4.5 * math.sqrt(200)


def test_worked_examples() -> None:
    """The examples of the docstrings have the answers given there."""
    assert oracle_abs_pattern([11, 0, 6, 5, 17, 2, 19, 8, 3, 2, 1]) == 0
    assert oracle_rel_pattern([2, 8, 0, 5, 9, 1, 1, 3]) == 0
    assert oracle_rel_pattern([2, 7, 0, 4, 9, 5, 8, 3]) == 2
    assert oracle_first_of([9, 6, 2, 7, 7, 0, 5, 3, 8, 1]) == 2
    assert oracle_last_of([9, 6, 2, 7, 7, 0, 5, 3, 8, 1]) == 1
    places = torch.tensor([[5, 9, 2, 7]])  # of the values 0 to 3 in that example
    assert FirstOf().answer(places).tolist() == [2]
    assert LastOf().answer(places).tolist() == [1]


def test_references_are_what_a_partial_view_can_reach() -> None:
    """A rule that sees only the offset, or only the distance, chooses among the classes with this value at random."""
    assert AbsolutePattern().references() == {"offset_only": 1 / 3}
    assert AbsolutePattern(places=[[3, 7], [9, 13], [7, 3]]).references() == {"offset_only": 2 / 3}
    assert RelativePattern(offsets=[-2, -1, 1]).references() == {"distance_only": 2 / 3}
    for task in (RelativePattern(), SignedDistance()):
        tokens, targets = task.sample(generator(0, "view"), 40_000, 32)
        five, eight = ((tokens == marker).int().argmax(1) for marker in (5, 8))
        seen: dict[int, Counter[int]] = {}
        for distance, target in zip((five - eight).abs().tolist(), targets.tolist(), strict=True):
            seen.setdefault(distance, Counter())[target] += 1
        hits = sum(max(labels.values()) for labels in seen.values()) / 40_000
        assert hits == pytest.approx(task.references()["distance_only"], abs=0.02)


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        (AbsolutePattern, {"length": 20}, "AbsolutePattern: dataset.length must be at least 21, got 20"),
        (AbsolutePattern, {"vocab_size": 8}, ", so dataset.vocab_size must be at least 9, got 8"),
        (AbsolutePattern, {"places": [[3, 7]]}, "dataset.places must list at least two pairs"),
        (AbsolutePattern, {"places": [3, 7]}, "two different places, got"),
        (AbsolutePattern, {"places": [[3, 7], [4, 4]]}, r"two different places, got \[4, 4\]"),
        (AbsolutePattern, {"places": [[3, 7], [4, -1]]}, "whole number ≥ 0, got -1"),
        (AbsolutePattern, {"places": [[3, 7], [3, 7]]}, r"got \[3, 7\] twice"),
        (RelativePattern, {"offsets": [1]}, "dataset.offsets must list at least two whole numbers"),
        (RelativePattern, {"offsets": [0, 1]}, "other than 0, got 0"),
        (RelativePattern, {"offsets": [1, 1]}, "must be different whole numbers"),
        (RelativePattern, {"offsets": [-9, 1], "length": 9}, "length must be at least 10, got 9"),
        (SignedDistance, {"num_classes": 5}, "on either side: dataset.num_classes must be even, got 5"),
        (SignedDistance, {"length": 4}, "length must be at least 5, got 4"),
        (FirstOf, {"num_classes": 1}, "num_classes must be a whole number ≥ 2, got 1"),
        (FirstOf, {"vocab_size": 4}, "vocab_size must be at least 5, got 4"),
        (LastOf, {"test_lengths": [3]}, "LastOf: each of dataset.test_lengths must be at least 4, got 3"),
    ],
)
def test_mistakes(task: Callable[..., Task], options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        task(**options)
