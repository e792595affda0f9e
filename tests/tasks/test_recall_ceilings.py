"""Ceilings of recall: closed forms against enumeration and Monte Carlo."""

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable

import pytest
import torch

from posenc.streams import generator
from posenc.tasks.lookup import Lookup
from posenc.tasks.recall import Induction, Needle, SelectiveCopy
from tests.tasks.test_recall import TASKS, chase, oracle_induction


def ceiling_of(law: Iterable[tuple[object, object]]) -> float:
    """The accuracy of the most frequent answer to each `seen`, for equally likely pairs (seen, answer)."""
    table: dict[object, Counter] = defaultdict(Counter)
    for seen, answer in law:
        table[seen][answer] += 1
    total = sum(sum(answers.values()) for answers in table.values())
    return sum(max(answers.values()) for answers in table.values()) / total


def bag(tokens: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(tokens))


@pytest.mark.parametrize(("n", "values"), [(1, 3), (4, 2), (5, 3)])
def test_lookup_ceiling_against_enumeration(n: int, values: int) -> None:
    law = (((bag(row), q), row[q]) for row in itertools.product(range(values), repeat=n) for q in range(n))
    assert Lookup(num_values=values).order_blind_ceiling(n + 1) == pytest.approx(ceiling_of(law), abs=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("hops", [1, 2, 3, 4, 6])
def test_chained_lookup_ceiling_against_enumeration(n: int, hops: int) -> None:
    law = ((q, chase([*row], q, hops)) for row in itertools.permutations(range(n)) for q in range(n))
    task = Lookup(num_values=None, hops=hops)
    assert task.order_blind_ceiling(n + 1) == pytest.approx(ceiling_of(law), abs=1e-12)


@pytest.mark.parametrize(("length", "vocab"), [(3, 3), (5, 3), (6, 4)])
def test_induction_ceiling_against_enumeration(length: int, vocab: int) -> None:
    def law() -> Iterable[tuple[object, object]]:
        for A in range(vocab):
            others = [value for value in range(vocab) if value != A]
            for rest in itertools.product(others, repeat=length - 2):
                for place in range(length - 2):
                    row = [*rest[:place], A, *rest[place:], A]
                    yield (bag(row), A), oracle_induction(row)

    assert Induction(vocab_size=vocab).order_blind_ceiling(length) == pytest.approx(ceiling_of(law()), abs=1e-12)


@pytest.mark.parametrize(("length", "values"), [(3, 2), (6, 3)])
def test_needle_ceiling_against_enumeration(length: int, values: int) -> None:
    law = (
        (bag(row), row[place])
        for row in itertools.product(range(values), repeat=length - 2)
        for place in range(length - 2)  # of the marked value among the values
    )
    task = Needle(num_values=values)
    assert task.order_blind_ceiling(length) == pytest.approx(ceiling_of(law), abs=1e-12)


@pytest.mark.parametrize(("data", "values"), [(1, 3), (3, 2), (4, 3)])
def test_selective_copy_ceilings_against_enumeration(data: int, values: int) -> None:
    """With slots all see the same bag and give one answer; under teacher forcing slot j also sees earlier symbols."""
    rows = [*itertools.product(range(values), repeat=data)]
    slots = ceiling_of((bag(row), symbol) for row in rows for symbol in row)
    forced = [ceiling_of(((bag(row), row[:j]), row[j]) for row in rows) for j in range(data)]
    for causal, expected in ((False, slots), (True, sum(forced) / data)):
        task = SelectiveCopy(num_values=values, num_data=data, causal=causal)
        assert task.order_blind_ceiling(32) == pytest.approx(expected, abs=1e-12)


def most_frequent_share(rows: torch.Tensor, vocab: int, answers: torch.Tensor) -> torch.Tensor:
    """The order-blind Bayes rule: how often the most frequent symbol of a row is its answer, with ties at random."""
    counts = torch.nn.functional.one_hot(rows, vocab).sum(1)
    best = counts == counts.max(1, keepdim=True).values
    return (best.gather(1, answers[:, None])[:, 0] / best.sum(1)).double()


@pytest.mark.slow
def test_ceilings_against_monte_carlo_at_length_32() -> None:
    """The Bayes rule of each task, scored on samples of the task."""
    count = 100_000
    tokens, targets = Lookup().sample(generator(0, "mc"), count, 32)
    scores = {"lookup": most_frequent_share(tokens[:, :-1], 20, targets)}
    tokens, targets = Needle().sample(generator(0, "mc"), count, 32)
    values = tokens[tokens < 20].view(count, 30)
    scores["needle"] = most_frequent_share(values, 20, targets)
    tokens, targets = Induction().sample(generator(0, "mc"), count, 32)
    others = tokens[tokens != tokens[:, -1:]].view(count, 30)
    scores["induction"] = most_frequent_share(others, 20, targets)
    tokens, targets = Lookup(num_values=None, hops=3).sample(generator(0, "mc"), count, 32)
    scores["chained_lookup"] = (tokens[:, -1] - 255 == targets).double()
    x, y = SelectiveCopy().pairs(generator(0, "mc"), count, 32)
    slots = torch.stack([most_frequent_share(x[x > 0].view(count, 8), 15, y[:, j]) for j in range(8)])
    scores["selective_copy"] = slots.mean(0)
    for name, score in scores.items():
        error = score.std().item() / math.sqrt(count)
        assert score.mean().item() == pytest.approx(TASKS[name][0].order_blind_ceiling(32), abs=4 * error), name
