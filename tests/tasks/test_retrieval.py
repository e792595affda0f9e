"""Offsets, maxima, associations of several tokens, words over groups: independent oracles, exact ceilings, laws."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posenc.checks import ConfigError
from posenc.streams import generator
from posenc.tasks.base import IGNORE, Task
from posenc.tasks.grid import GridCrossing
from posenc.tasks.groups import StateTracking, elements, generators
from posenc.tasks.retrieval import MaxRetrieval, MultiTokenRecall, OffsetIndexing
from tests.tasks.test_recall_ceilings import bag, ceiling_of


def oracle_offset(tokens: list[int], values: int = 20, furthest: int = 8) -> int:
    offsets = [k for k in range(-furthest, furthest + 1) if k]
    assert max(tokens[:-1]) == values
    assert tokens.count(values) == 1
    return tokens[:-1][tokens.index(values) + offsets[tokens[-1] - values - 1]]


def oracle_max(tokens: list[int], values: int = 10) -> int:
    items = dict(zip(tokens[::2], tokens[1::2], strict=True))
    assert len(items) == len(tokens) // 2
    assert min(items) >= values
    return items[max(items)]


def oracle_crossing(tokens: list[int], values: int = 20, columns: int = 8) -> int:
    rows = [tokens[start : start + columns] for start in range(0, len(tokens), columns)]
    (row,) = (row for row in rows if values in row)
    (column,) = (i for row in rows for i, token in enumerate(row) if token == values + 1)
    assert values + 1 not in row
    assert row[column] < values
    return row[column]


def oracle_recall(tokens: list[int], queries: int = 2, values: int = 16) -> list[int]:
    """Reads items of four tokens: pairs of key and value, then keys with blanks."""
    known: dict[tuple[int, ...], list[int]] = {}
    answers = [IGNORE] * len(tokens)
    for start in range(0, len(tokens) - 3, 4):
        key, value = tuple(tokens[start : start + 2]), tokens[start + 2 : start + 4]
        if value != [0, 0]:
            assert min(key) > values
            assert key not in known
            known[key] = [token - 1 for token in value]
        else:
            answers[start + 1 : start + 3] = known.pop(key)  # of different pairs
            queries -= 1
    assert queries == 0
    return answers


def oracle_states(letters: list[int], group: str, all_elements: bool) -> list[int]:
    """Each letter moves the objects that are at the places."""
    n = int(group[1])
    words = sorted(
        p
        for p in itertools.permutations(range(n))
        if group[0] == "S" or not sum(a > b for a, b in itertools.combinations(p, 2)) % 2
    )
    moves = words if all_elements else generators(group)
    standing, answers = list(range(n)), []
    for letter in letters:
        standing = [standing[moves[letter].index(place)] for place in range(n)]
        answers.append(words.index(tuple(standing.index(thing) for thing in range(n))))
    return answers


TASKS: dict[str, tuple[Task, Callable, int]] = {  # task, oracle, shortest length
    "offset_indexing": (OffsetIndexing(), oracle_offset, 10),
    "max_retrieval": (MaxRetrieval(), oracle_max, 1),
    "grid_crossing": (GridCrossing(), oracle_crossing, 2),
    "multi_token_recall": (MultiTokenRecall(), oracle_recall, 16),
    **{
        f"{group} {letters}": (
            StateTracking(group=group, letters=letters),
            lambda tokens, group=group, letters=letters: oracle_states(tokens, group, letters == "elements"),
            1,
        )
        for group, letters in [("S3", "generators"), ("A4", "generators"), ("A5", "elements"), ("S5", "generators")]
    },
}


@pytest.mark.parametrize("name", TASKS)
@given(length=st.integers(0, 60), seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_labels_agree_with_an_independent_oracle(name: str, length: int, seed: int) -> None:
    task, oracle, shortest = TASKS[name]
    assert task.min_length == shortest
    tokens, targets = task.sample(generator(seed, "test"), 16, shortest + length)
    assert [oracle(row) for row in tokens.tolist()] == targets.tolist()
    sources = task.sources(tokens)
    assert sources is None or torch.equal(tokens.gather(1, sources[:, -1:])[:, 0], targets)


def test_worked_examples() -> None:
    """The examples of the docstrings have the answers given there."""
    text = [7, 2, 5, 10, 9, 9, 2, 0, 3]
    assert oracle_offset([*text, 10 + 2], 10, 3) == 2
    assert oracle_offset([*text, 10 + 6], 10, 3) == 2
    assert oracle_crossing([7, 2, 5, 0, 1, 10, 9, 3, 2, 0, 8, 11], 10, 4) == 3
    assert oracle_max([10 + 17, 1, 10 + 40, 0, 10 + 3, 2]) == 0
    a, b, c = 17, 18, 19
    tokens = [a, c, 4, 2, b, a, 1, 2, a, b, 3, 3, b, a, 0, 0, a, c, 0, 0]
    assert oracle_recall(tokens)[12:] == [IGNORE, 0, 1, IGNORE, IGNORE, 3, 1, IGNORE]
    states = elements("S3")
    assert ["".join(map(str, states[i])) for i in oracle_states([1, 0, 0, 1, 1], "S3", False)] == [
        "120", "021", "120", "201", "012",
    ]  # fmt: skip


@pytest.mark.parametrize(("group", "size"), [("S3", 6), ("S4", 24), ("S5", 120), ("A4", 12), ("A5", 60)])
def test_generators_make_the_group(group: str, size: int) -> None:
    task, reached = StateTracking(group=group), {0}
    assert len(elements(group)) == task.num_outputs == size
    assert {*generators(group)} <= {*elements(group)}
    for _ in range(size):
        reached |= {int(task.step[state, letter]) for state in reached for letter in range(2)}
    assert len(reached) == size


@pytest.mark.parametrize("group", ["S3", "A4"])
@pytest.mark.parametrize("length", [1, 2, 9])
def test_ceiling_of_state_tracking_against_enumeration(group: str, length: int) -> None:
    """An order-blind model sees the bag of the earlier letters and the letter at which it answers."""
    words = [[*word] for word in itertools.product(range(2), repeat=length)]
    states = {tuple(word): oracle_states(word, group, False) for word in words}
    at = [ceiling_of(((bag(word[:t]), word[t]), states[tuple(word)][t]) for word in words) for t in range(length)]
    assert StateTracking(group=group).order_blind_ceiling(length) == pytest.approx(sum(at) / length, abs=1e-12)


def test_all_elements_have_no_known_ceiling_and_long_words_leave_the_sign() -> None:
    assert StateTracking(letters="elements").order_blind_ceiling(9) is None
    for group, expected in {"S3": 1 / 3, "A5": 1 / 60}.items():  # the bag shows only whether the permutation is odd
        short, long = (StateTracking(group=group).order_blind_ceiling(length) for length in (250, 500))
        assert short is not None
        assert long is not None
        assert (500 * long - 250 * short) / 250 == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(("length", "values", "furthest"), [(5, 2, 2), (6, 3, 1)])
def test_offset_ceiling_against_enumeration(length: int, values: int, furthest: int) -> None:
    def law() -> Iterator[tuple[object, object]]:
        for row in itertools.product(range(values), repeat=length - 2):
            for k in (k for k in range(-furthest, furthest + 1) if k):
                room = length - 1 - abs(k)
                for marker in range(max(-k, 0), max(-k, 0) + room):
                    line = [*row[:marker], values, *row[marker:]]
                    weight = math.lcm(*range(1, length)) // room  # each offset is equally likely
                    yield from itertools.repeat(((bag(row), k), line[marker + k]), weight)

    task = OffsetIndexing(num_values=values, max_offset=furthest)
    assert task.order_blind_ceiling(length) == pytest.approx(ceiling_of(law()), abs=1e-12)


def test_offsets_are_uniform_and_places_are_given_an_offset() -> None:
    task, count = OffsetIndexing(num_values=2, max_offset=2), 40_000
    tokens, _ = task.sample(generator(0, "law"), count, 5)
    question, marker = tokens[:, -1] - 3, (tokens == 2).int().argmax(1)
    for k, row in zip((-2, -1, 1, 2), range(4), strict=True):
        places = marker[question == row]
        assert len(places) == pytest.approx(count / 4, abs=4.5 * math.sqrt(count / 4))
        low, room = max(-k, 0), 4 - abs(k)
        shares = places.bincount(minlength=4)[low : low + room] / len(places)
        torch.testing.assert_close(shares, torch.full((room,), 1 / room), atol=0.02, rtol=0)


def items(values: int, count: int) -> Iterable[tuple[int, ...]]:
    return itertools.product(range(values), repeat=count)


@pytest.mark.parametrize(("length", "values"), [(1, 3), (4, 2), (5, 3)])
def test_max_ceiling_against_enumeration(length: int, values: int) -> None:
    """Priorities are different, so each item is equally likely to have the largest."""
    law = ((bag(row), row[best]) for row in items(values, length) for best in range(length))
    assert MaxRetrieval(num_values=values).order_blind_ceiling(length) == pytest.approx(ceiling_of(law), abs=1e-12)


def test_crossing_ceiling_against_enumeration_and_places_are_uniform() -> None:
    def law() -> Iterator[tuple[object, object]]:
        for row in items(2, 4):  # the other cells of two rows of three
            for one, other in itertools.permutations(range(6), 2):
                if one // 3 != other // 3 and one % 3 != other % 3:
                    rest = iter(row)
                    grid = [2 if cell == one else 3 if cell == other else next(rest) for cell in range(6)]
                    yield bag(row), oracle_crossing(grid, 2, 3)

    task = GridCrossing(num_values=2, columns=3)
    assert task.order_blind_ceiling(2) == pytest.approx(ceiling_of(law()), abs=1e-12)
    tokens, _ = task.sample(generator(0, "places"), 24_000, 2)
    pairs = (tokens == 2).int().argmax(1) * 6 + (tokens == 3).int().argmax(1)
    counts = pairs.unique(return_counts=True)[1]
    assert len(counts) == 12
    assert (counts - 2000).abs().max() < 4.5 * math.sqrt(2000)


def test_multi_token_ceiling_against_enumeration() -> None:
    """With two queries and three pairs, each of the six value tokens is equally likely to be the next answer."""
    law = ((bag(row), row[best]) for row in items(3, 6) for best in range(6))
    task = MultiTokenRecall(value_letters=3)
    assert task.order_blind_ceiling(20) == task.order_blind_ceiling(23) == pytest.approx(ceiling_of(law), abs=1e-12)


def test_letters_of_a_key_come_again_in_others() -> None:
    tokens, _ = MultiTokenRecall(key_letters=4).sample(generator(0, "keys"), 50, 64)
    assert all(len({*row[0:56:4]}) < 14 for row in tokens.tolist())  # 14 pairs over 4 letters


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        (OffsetIndexing, {"length": 9}, "length must be at least 10, got 9"),
        (OffsetIndexing, {"max_offset": 0}, "max_offset must be a whole number ≥ 1, got 0"),
        (MaxRetrieval, {"length": 600}, r"600 items .* set dataset\.num_priorities=600"),
        (MultiTokenRecall, {"length": 15}, "length must be at least 16, got 15"),
        (
            MultiTokenRecall,
            {"key_tokens": 20},
            r"16 letters make 16\^20 different keys.*lower dataset\.key_tokens to 7\.",
        ),
        (MultiTokenRecall, {"key_letters": 2**30}, r"lower dataset\.key_letters\."),
        (MultiTokenRecall, {"key_letters": 2}, r"2 letters make 4 different keys, .*raise dataset\.key_letters"),
        (StateTracking, {"group": "S6"}, "group=S6 is not one of S3, S4, S5, A4, A5"),
        (StateTracking, {"letters": "all"}, "letters=all is not one of generators, elements"),
    ],
)
def test_mistakes(task: Callable[..., Task], options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        task(**options)
