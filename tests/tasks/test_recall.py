"""Lookup and the recall tasks: labels against independent oracles, laws of places, options."""

import itertools
import math
from collections import Counter
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posenc.checks import ConfigError
from posenc.streams import generator
from posenc.tasks.base import IGNORE, Task
from posenc.tasks.lookup import Lookup
from posenc.tasks.recall import Induction, MultiQueryRecall, Needle, SelectiveCopy


def oracle_lookup(tokens: list[int]) -> int:
    *values, query = tokens
    assert max(values) < 20
    return values[query - 20]


def chase(places: list[int], start: int, hops: int) -> int:
    return start if hops == 0 else chase(places, places[start], hops - 1)


def oracle_chained_lookup(tokens: list[int]) -> int:
    *values, query = tokens
    assert sorted(values) == list(range(len(values)))
    return chase(values, query - 255, 3)


def oracle_induction(tokens: list[int]) -> int:
    *before, A = tokens
    assert before.count(A) == 1
    return before[before.index(A) + 1]


def oracle_needle(tokens: list[int]) -> int:
    assert tokens.count(20) == 1
    assert [i for i, token in enumerate(tokens) if token == 21] == [len(tokens) - 1]
    return tokens[tokens.index(20) + 1]


def oracle_multi_query_recall(tokens: list[int], pairs: int = 4, vocab: int = 64) -> list[int]:
    """Reads from left to right, as a causal model does: first the pairs into a dictionary, then the questions."""
    known: dict[int, int] = {}
    answers = [IGNORE] * len(tokens)
    for i, token in enumerate(tokens):
        if i < 2 * pairs:
            if i % 2:
                assert vocab // 2 <= token < vocab
                assert token not in known.values()
                known[tokens[i - 1]] = token
            else:
                assert 0 < token < vocab // 2
                assert token not in known
        elif token:
            answers[i] = known[token]
    assert sorted(a for a in answers if a != IGNORE) == sorted(known.values())
    return answers


def oracle_selective_copy(tokens: list[int], data: int = 8, slot: int = 15) -> list[int]:
    source = tokens[:-data]
    answer = [token for token in source if token != 0]
    assert len(answer) == data
    assert set(tokens[-data:]) == {slot} or tokens[-data:] == [slot, *answer[:-1]]
    return [IGNORE] * len(source) + answer


TASKS: dict[str, tuple[Task, Callable, int, int]] = {  # task, oracle, shortest length, tokens beyond it
    "lookup": (Lookup(), oracle_lookup, 2, 0),
    "chained_lookup": (Lookup(num_values=None, hops=3), oracle_chained_lookup, 2, 0),
    "multi_query_recall": (MultiQueryRecall(), oracle_multi_query_recall, 16, 0),
    "induction": (Induction(), oracle_induction, 3, 0),
    "needle": (Needle(), oracle_needle, 3, 0),
    "selective_copy": (SelectiveCopy(), oracle_selective_copy, 8, 8),
    "selective_copy_causal": (SelectiveCopy(causal=True), oracle_selective_copy, 8, 8),
}


@pytest.mark.parametrize("name", TASKS)
@given(length=st.integers(0, 60), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_labels_agree_with_an_independent_oracle(name: str, length: int, seed: int) -> None:
    task, oracle, shortest, beyond = TASKS[name]
    assert task.min_length == shortest
    tokens, targets = task.sample(generator(seed, "test"), 64, shortest + length)
    assert tokens.shape == (64, shortest + length + beyond)
    assert tokens.dtype == targets.dtype == torch.int64
    assert tokens.min() >= 0
    assert tokens.max() < task.vocab_size
    assert targets.max() < task.num_outputs
    assert [oracle(row) for row in tokens.tolist()] == targets.tolist()
    assert task.order_aware_ceiling(shortest + length) == 1.0


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


def test_worked_examples() -> None:
    """The examples of the docstrings; that of multi-query recall is from zoology."""
    recalled = oracle_multi_query_recall([2, 8, 4, 7, 0, 0, 4, 0, 0, 0, 0, 0, 2, 0, 0, 0], pairs=2, vocab=12)
    assert {i: answer for i, answer in enumerate(recalled) if answer != IGNORE} == {6: 7, 12: 8}
    assert oracle_lookup([7, 3, 9, 3, 0, 20 + 2]) == 9
    assert chase([3, 0, 4, 2, 1], 2, 2) == 1
    assert oracle_induction([7, 2, 5, 9, 9, 2, 0, 3, 1, 5]) == 9
    assert oracle_needle([7, 2, 5, 20, 9, 9, 2, 0, 3, 21]) == 9
    tokens = [0, 3, 0, 0, 7, 1, 0, 0, 0, 3, 0, 15, 15, 15, 15]
    assert oracle_selective_copy(tokens, data=4)[-4:] == [3, 7, 1, 3]


def test_the_pair_of_a_query_is_uniform() -> None:
    """Multi-query recall: neither the bag nor the order of the keys shows which of the K values belongs to a key."""
    task = MultiQueryRecall(num_pairs=3, vocab_size=12)
    tokens, targets = task.sample(generator(0, "pairs"), 20_000, 12)
    asked = targets != IGNORE
    keys, answers = tokens[asked].view(-1, 3), targets[asked].view(-1, 3)
    rank_of_key = keys.argsort(1).argsort(1)
    rank_of_value = answers.argsort(1).argsort(1)
    table = torch.zeros(3, 3).index_put_(
        (rank_of_key.flatten(), rank_of_value.flatten()), torch.ones(60_000), accumulate=True
    )
    torch.testing.assert_close(table / 20_000, torch.full((3, 3), 1 / 3), atol=4 * 0.5 / math.sqrt(20_000), rtol=0)
    assert task.order_blind_ceiling(12) == 1 / 3


def test_keys_and_values_are_uniform_in_every_order() -> None:
    """For K = 2, all ordered pairs of 5 keys, and of 6 values, are equally frequent."""
    tokens, _ = MultiQueryRecall(num_pairs=2, vocab_size=12).sample(generator(0, "keys"), 30_000, 8)
    for columns, orders in ((tokens[:, [0, 2]], 5 * 4), (tokens[:, [1, 3]], 6 * 5)):
        counts = columns.unique(dim=0, return_counts=True)[1]
        assert len(counts) == orders
        assert (counts - 30_000 / orders).abs().max() < 4.5 * math.sqrt(30_000 / orders)


@pytest.mark.parametrize("power", [0.01, 1.0])
def test_gaps_are_drawn_one_after_the_other_by_the_power_law(power: float) -> None:
    """The first key's gap is drawn by all weights, the second key's gap by the remaining weights, as in zoology."""
    length, count = 14, 40_000  # two pairs, then ten places: gaps 0 to 4
    tokens, targets = MultiQueryRecall(num_pairs=2, power=power).sample(generator(0, "gaps"), count, length)
    gap = [((tokens[:, 4:] == tokens[:, [2 * i]]).int().argmax(1) // 2).tolist() for i in range(2)]
    assert torch.equal((targets != IGNORE).nonzero()[:, 1] % 2, torch.zeros(2 * count, dtype=torch.int64))
    weight = [(g + 1) ** (power - 1) for g in range(5)]
    drawn = Counter(zip(*gap, strict=True))
    for first, second in itertools.permutations(range(5), 2):
        p = weight[first] / sum(weight) * weight[second] / (sum(weight) - weight[first])
        assert drawn[first, second] == pytest.approx(count * p, abs=4.5 * math.sqrt(count * p))


def test_places_are_uniform() -> None:
    count = 30_000
    tokens, _ = Lookup().sample(generator(0, "q"), count, 7)
    found = {"query": tokens[:, -1] - 20}
    tokens, _ = Needle().sample(generator(0, "q"), count, 8)
    found["needle"] = (tokens == 20).int().argmax(1)
    tokens, _ = Induction().sample(generator(0, "q"), count, 8)
    found["induction"] = (tokens == tokens[:, -1:]).int().argmax(1)
    x, _ = SelectiveCopy(num_data=2).pairs(generator(0, "q"), count, 4)
    found["selective_copy"] = ((x > 0) * torch.tensor([1, 2, 4, 8])).sum(1)
    for name, places in found.items():
        values, counts = places.unique(return_counts=True)
        assert len(values) == 6, name
        assert (counts - count / 6).abs().max() < 4.5 * math.sqrt(count / 6), name


@given(distance=st.integers(1, 20), more=st.integers(0, 20), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_needle_at_a_set_distance(distance: int, more: int, seed: int) -> None:
    task = Needle(distance=distance)
    assert task.min_length == distance + 2
    tokens, targets = task.sample(generator(seed, "test"), 32, distance + 2 + more)
    assert torch.equal(tokens[:, -1 - distance], targets)
    assert [oracle_needle(row) for row in tokens.tolist()] == targets.tolist()


@given(values=st.integers(2, 40), n=st.integers(1, 40), hops=st.integers(1, 5), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_lookup_options(values: int, n: int, hops: int, seed: int) -> None:
    tokens, targets = Lookup(num_values=values, max_length=50).sample(generator(seed, "test"), 16, n + 1)
    assert [row[row[-1] - values] for row in tokens.tolist()] == targets.tolist()
    tokens, targets = Lookup(num_values=None, hops=hops, max_length=50).sample(generator(seed, "test"), 16, n + 1)
    assert [chase(row[:-1], row[-1] - 49, hops) for row in tokens.tolist()] == targets.tolist()


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        (Lookup, {"length": 1}, "length must be at least 2, got 1"),
        (Lookup, {"test_lengths": [64, 300]}, r"max_length is 256; set dataset\.max_length=300"),
        (Lookup, {"length": [8, 20], "max_length": 16}, r"set dataset\.max_length=20"),
        (Lookup, {"hops": 2}, "set dataset.num_values=null, not 20"),
        (Lookup, {"hops": 0}, "hops must be a whole number ≥ 1, got 0"),
        (Lookup, {"num_values": 1}, "num_values must be a whole number ≥ 2, got 1"),
        (MultiQueryRecall, {"length": 15}, "length must be at least 16, got 15"),
        (MultiQueryRecall, {"vocab_size": 9}, "vocab_size must be at least 10, got 9"),
        (MultiQueryRecall, {"power": -1}, "power must be a number ≥ 0, got -1"),
        (Induction, {"vocab_size": 2}, "vocab_size must be at least 3, got 2"),
        (Induction, {"length": 2}, "length must be at least 3, got 2"),
        (Needle, {"distance": 0}, "distance must be a whole number ≥ 1, got 0"),
        (Needle, {"distance": 31}, "length must be at least 33, got 32"),
        (Needle, {"num_values": 1}, "num_values must be a whole number ≥ 2, got 1"),
        (SelectiveCopy, {"num_data": 33}, "length must be at least 33, got 32"),
        (SelectiveCopy, {"num_data": 0}, "num_data must be a whole number ≥ 1, got 0"),
        (SelectiveCopy, {"num_values": 1}, "num_values must be a whole number ≥ 2, got 1"),
    ],
)
def test_mistakes(task: Callable[..., Task], options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        task(**options)


def test_smallest_vocabularies_work() -> None:
    assert MultiQueryRecall(vocab_size=10).sample(generator(0, "x"), 8, 16)[0].max() < 10
    assert Induction(vocab_size=3).sample(generator(0, "x"), 8, 3)[0].shape == (8, 3)
    assert Lookup(max_length=32).vocab_size == 20 + 31
