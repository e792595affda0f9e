"""For every classification task, the best order-blind rule has skill 0, and the best rule has skill 1.

Each task with one question per sequence has two rules here. The order-blind rule is derived from the law in the task's
docstring, and not from the code of its ceiling. On fresh sequences it must have skill 0, to within four standard
errors. The order-aware rule must have exactly skill 1.
"""

import math
import statistics
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from posenc.streams import generator
from posenc.tasks.base import Task, skill
from tests.conftest import CONFIGS, options
from tests.tasks.answers import AWARE

CLASSIFICATION = [
    name
    for name in options("dataset")
    if OmegaConf.select(OmegaConf.load(CONFIGS / f"dataset/{name}.yaml"), "readout") != "per_token"
]


@dataclass
class Bag:
    """What an order-blind model sees: how often each token occurs, and the token at which it answers."""

    counts: Tensor  # (B, V)
    last: Tensor  # (B,)

    @classmethod
    def of(cls, tokens: Tensor, vocab_size: int) -> "Bag":
        counts = torch.zeros(len(tokens), vocab_size, dtype=torch.int16)
        return cls(counts.scatter_add_(1, tokens, torch.ones(1, dtype=torch.int16).expand_as(tokens)), tokens[:, -1])


Rule = Callable[[Bag], Tensor]
"""(B, C): a score of each class, which rises with its probability. The answer is the class with the largest score, or
one of them at random."""


# Rules that know the law.


def products(bag: Bag) -> Tensor:
    """`pattern`: a class contains each of its two values, so P(bag | class) ∝ the product of their counts."""
    return torch.stack([bag.counts[:, a] * bag.counts[:, b] for a, b in ((5, 8), (3, 9), (7, 4))], dim=1)


def unequal_ends(bag: Bag) -> Tensor:
    """`even_pairs`: of the n(n − 1) ordered pairs of places k·(n − k) contain 0 and 1, and as many contain 1 and 0."""
    zeros, ones = bag.counts.long().unbind(1)
    return torch.stack((zeros * (zeros - 1) + ones * (ones - 1), 2 * zeros * ones), dim=1)


def most_frequent(bag: Bag, symbols: int) -> Tensor:
    """The question is equally likely to be about each occurrence of a symbol."""
    return bag.counts[:, :symbols]


def most_frequent_other(bag: Bag) -> Tensor:
    """`induction`: another token than A follows A, and each occurrence of such a token is equally likely."""
    return bag.counts.scatter(1, bag.last[:, None], 0)


def where_asked(bag: Bag) -> Tensor:
    """`chained_lookup`, two hops: they lead back to the start with probability 2/n (cycles of length 1 or 2)."""
    return bag.counts[:, 255:]


def weighed(bag: Bag, weights: tuple[int, ...], modulus: int) -> Tensor:
    """The class is Σ weight · count, modulo the number of classes."""
    answer = (bag.counts.long() @ torch.tensor(weights)) % modulus
    return torch.nn.functional.one_hot(answer, modulus)


# Rules that learn.


def learned(task: Task, length: int) -> Rule:
    """Naive Bayes: log P(class) + Σ count · log P(token | class), fitted to sequences that it draws.

    If bags show nothing about the class, every rule is right equally often. If they do show something, this rule is
    better.
    """
    tokens, targets = task.sample(generator(0, f"bag/train/{length}"), 20_000, length)
    counts = Bag.of(tokens, task.vocab_size).counts.double()
    of_class = torch.nn.functional.one_hot(targets, task.num_outputs).double()
    tokens_of_class = of_class.T @ counts + 1
    prior = ((of_class.sum(0) + 1) / (len(tokens) + 1)).log()
    weights = (tokens_of_class / tokens_of_class.sum(1, keepdim=True)).log().T
    return lambda bag: bag.counts.double() @ weights + prior


class Table:
    """The most frequent class of each bag in `size` sequences that it draws: the Bayes rule if no bag is rare."""

    def __init__(self, task: Task, length: int, size: int = 2**20) -> None:
        self.base = (length + 1) ** torch.arange(task.vocab_size)
        tokens, targets = task.sample(generator(0, f"bag/table/{length}"), size, length)
        keys = Bag.of(tokens, task.vocab_size).counts.long() @ self.base
        self.bags, bag = keys.unique(return_inverse=True)
        table = torch.zeros(len(self.bags), task.num_outputs, dtype=torch.int64)
        self.table = table.index_put_((bag, targets), torch.tensor(1), accumulate=True)
        self.on_its_own = self.table.amax(1).sum().item() / size

    def __call__(self, bag: Bag) -> Tensor:
        keys = bag.counts.long() @ self.base
        place = torch.searchsorted(self.bags, keys).clamp(max=len(self.bags) - 1)
        return self.table[place] * (self.bags[place] == keys)[:, None]


BLIND: dict[str, Rule | None] = {
    "abs_pattern": None,
    "chained_lookup": where_asked,
    "distance": None,
    "early_pattern": None,
    "even_pairs": unequal_ends,
    "first_of": None,
    "grid_crossing": partial(most_frequent, symbols=20),
    "induction": most_frequent_other,
    "last_of": None,
    "lookup": partial(most_frequent, symbols=20),
    "max_retrieval": partial(most_frequent, symbols=10),
    "needle": partial(most_frequent, symbols=20),
    "offset_indexing": partial(most_frequent, symbols=20),
    "pattern": products,
    "rel_pattern": None,
    "signed_distance": None,
    "sorting": None,
}
"""The best order-blind rule of tasks whose bags do not determine the answer; None: a bag shows nothing, so `learned` is
used."""

BY_TABLE = {"modular_arithmetic": {5: 210, 7: 700}, "solve_equation": {9: 60, 12: 135}}
"""{task: {length: number of bags}}. The best order-blind rule of these tasks is a sum over all expressions with a given
bag, which has no short form. At these lengths there are so few bags that a table of them can be learned."""

DETERMINED: dict[str, Rule] = {
    "cycle_navigation": partial(weighed, weights=(-1, 0, 1), modulus=5),
    "majority": partial(most_frequent, symbols=4),
    "missing_duplicate": partial(weighed, weights=(0, 1, 0, 0), modulus=2),
    "parity": partial(weighed, weights=(0, 1), modulus=2),
    "sum_mod_10": partial(weighed, weights=tuple(range(10)), modulus=10),
}
"""Tasks whose bags determine the answer, so that no encoding can help and skill is undefined."""

UNKNOWN = {"modular_arithmetic_brackets": "what a bag says of products in brackets has no closed form; see its ceiling"}
"""Tasks whose order-blind ceiling is None, and why."""


@pytest.fixture
def task(request: pytest.FixtureRequest, composed: Callable[..., DictConfig]) -> Task:
    return instantiate(composed(f"dataset={request.param}").dataset, _convert_="all")


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return request.node.callspec.params["task"]


def of(names: Iterable[str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("task", names, indirect=True)


def share_of_hits(task: Task, length: int, rule: Rule, count: int) -> float:
    """The share of `count` fresh sequences that the rule answers right; between equal scores it chooses at random."""
    size = min(count, 2**20 // max(length, task.vocab_size))
    batches, hits, random = -(-count // size), 0.0, generator(0, f"bag/test/{length}")
    for _ in range(batches):
        tokens, targets = task.sample(random, size, length)
        likely = rule(Bag.of(tokens, task.vocab_size))
        best = likely == likely.amax(1, keepdim=True)
        hits += (best.gather(1, targets[:, None])[:, 0] / best.sum(1)).sum().item()
    return hits / (batches * size)


def check_skill_is_zero(
    task: Task, length: int, rule: Rule, resolution: float, of_ceiling: float = 0.0
) -> tuple[float, float]:
    """The accuracy and its standard error, which includes that of a measured ceiling.

    The number of sequences, at most a million, makes six standard errors equal to `resolution` times the ceiling.
    """
    blind, aware = task.order_blind_ceiling(length), task.order_aware_ceiling(length)
    assert blind is not None
    count = min(2**20, 2**27 // task.vocab_size, math.ceil((6 / resolution) ** 2 * (1 - blind) / blind))
    accuracy = share_of_hits(task, length, rule, count)
    error = math.hypot(math.sqrt(blind * (1 - blind) / count), of_ceiling)
    assert skill(accuracy, blind, aware) == pytest.approx(0, abs=4 * error / (1 - blind))
    return accuracy, error


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_every_classification_task_has_both_oracles(name: str) -> None:
    assert sum(name in kind for kind in (BLIND, BY_TABLE, DETERMINED, UNKNOWN)) == 1, (
        f"{name} asks one question per sequence, so tests/tasks/test_bag_oracle.py needs its best order-blind rule: "
        "add the rule to BLIND; or, if it has no short form, lengths with few bags to BY_TABLE; or, if the bag "
        "determines the answer, the rule to DETERMINED; or, if the order-blind ceiling is None, the reason to UNKNOWN."
    )
    assert name in AWARE, f"add a rule for the answer of {name} to AWARE in tests/tasks/answers.py."


@pytest.mark.slow
@of(BLIND)
def test_the_best_order_blind_rule_has_skill_zero(task: Task, name: str) -> None:
    for length, resolution in zip(task.test_lengths, (0.02, 0.03), strict=False):
        check_skill_is_zero(task, length, BLIND[name] or learned(task, length), resolution)


@pytest.mark.slow
@of(BY_TABLE)
def test_a_table_of_bags_has_skill_zero(task: Task, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table is right at least as often as the best rule on its own sequences, and at most as often on fresh ones.

    So the difference of its two accuracies is an upper limit of its error; it is below the standard error. The ceiling
    is measured too, and its standard deviation over seeds is a part of the standard error.
    """
    for length, bags in BY_TABLE[name].items():
        measured = []
        for seed in range(1, 9):
            with monkeypatch.context() as patch:
                patch.setattr(sys.modules[type(task).__module__], "stream", lambda _, name, s=seed: generator(s, name))
                measured.append(task.order_blind_ceiling(length))
        table = Table(task, length)
        assert len(table.bags) == bags
        accuracy, error = check_skill_is_zero(task, length, table, 0.01, statistics.stdev(measured))
        assert table.on_its_own - accuracy < error


@of(DETERMINED)
def test_a_bag_that_determines_the_answer_leaves_skill_undefined(task: Task, name: str) -> None:
    for length in (*task.test_lengths[:2], 33):
        assert share_of_hits(task, length, DETERMINED[name], 20_000) == 1
        assert task.order_blind_ceiling(length) == task.order_aware_ceiling(length) == 1
        assert skill(1.0, 1.0, 1.0) is None


@of(UNKNOWN)
def test_an_unknown_ceiling_leaves_skill_undefined(task: Task) -> None:
    for length in task.test_lengths[:2]:
        assert task.order_blind_ceiling(length) is None
        assert skill(1.0, None, task.order_aware_ceiling(length)) is None


@of(CLASSIFICATION)
def test_the_answers_read_off_have_skill_one(task: Task, name: str) -> None:
    for length in (*task.test_lengths[:2], 33):
        tokens, targets = task.sample(generator(0, f"aware/{length}"), 500, length)
        accuracy = (AWARE[name](tokens) == targets).double().mean().item()
        assert accuracy == task.order_aware_ceiling(length) == 1
        assert skill(accuracy, task.order_blind_ceiling(length), 1.0) == (1.0 if name in {*BLIND, *BY_TABLE} else None)
