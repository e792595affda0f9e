"""Flip-flop and Markov source: independent oracles, exact ceilings against enumeration and Monte Carlo."""

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posenc.checks import ConfigError
from posenc.streams import generator
from posenc.tasks.base import IGNORE, Task
from posenc.tasks.state import FlipFlopDataset, MarkovDataset

SYMBOLS = "01wri"


def oracle_flip_flop(text: str) -> list[int]:
    """The memory at every r; the last instruction may have no bit."""
    assert text[0] == "w"
    memory, answers = "", []
    for place, symbol in enumerate(text):
        if place % 2:
            assert symbol in "01"
            if text[place - 1] == "w":
                memory = symbol
            if text[place - 1] == "r":
                assert symbol == memory
            answers.append(IGNORE)
        else:
            assert symbol in "wri"
            answers.append(int(memory) if symbol == "r" else IGNORE)
    return answers


def test_the_example_of_the_source() -> None:
    assert oracle_flip_flop("w0w1i1i0r1") == [IGNORE] * 8 + [1, IGNORE]


@given(length=st.integers(3, 60), p=st.sampled_from([0.0, 0.1, 0.8, 0.98, 1.0]), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_flip_flop_agrees_with_an_independent_oracle(length: int, p: float, seed: int) -> None:
    tokens, targets = FlipFlopDataset(p_ignore=p).sample(generator(seed, "test"), 32, length)
    assert tokens.shape == targets.shape == (32, length)
    assert tokens.dtype == targets.dtype == torch.int64
    for row, answer in zip(tokens.tolist(), targets.tolist(), strict=True):
        text = "".join(SYMBOLS[token] for token in row)
        assert oracle_flip_flop(text) == answer
        assert text[(length - 1) // 2 * 2] == "r"


@pytest.mark.parametrize("p", [0.8, 0.1])
def test_flip_flop_law(p: float) -> None:
    batch = 20_000
    tokens, targets = FlipFlopDataset(p_ignore=p).sample(generator(0, "law"), batch, 20)
    inner, bits = tokens[:, 2:-2:2], tokens[:, 3:-2:2]
    for instruction, expected in ((2, (1 - p) / 2), (3, (1 - p) / 2), (4, p)):
        share = (inner == instruction).double().mean().item()
        assert share == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / inner.numel()))
    for instruction in (2, 4):
        drawn = bits[inner == instruction].double()
        assert drawn.mean().item() == pytest.approx(0.5, abs=2 / math.sqrt(len(drawn)))
    answers = targets[:, -2].double()
    assert answers.mean().item() == pytest.approx(0.5, abs=2 / math.sqrt(batch))


def brute_flip_flop(steps: int, p: float) -> float:
    """The accuracy of the best guess at each read, given the bag of the tokens so far, over all weighted sequences."""
    share = {"w": (1 - p) / 2, "r": (1 - p) / 2, "i": p}
    right: dict[tuple, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for inner in itertools.product("wri", repeat=steps - 2):
        instructions = ["w", *inner, "r"]
        drawn = [place for place, name in enumerate(instructions) if name != "r"]
        for coins in itertools.product((0, 1), repeat=len(drawn)):
            weight = math.prod(share[name] for name in inner) / 2 ** len(drawn)
            fresh, memory, seen = dict(zip(drawn, coins, strict=True)), 0, []
            for place, name in enumerate(instructions):
                memory = fresh[place] if name == "w" else memory
                seen.append(name)
                if name == "r":
                    right[tuple(sorted(seen))][memory] += weight
                seen.append(str(fresh[place] if name != "r" else memory))
    return sum(map(max, right.values())) / sum(map(sum, right.values()))


@pytest.mark.parametrize("p", [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("steps", [2, 3, 6])
def test_flip_flop_blind_ceiling_against_enumeration(steps: int, p: float) -> None:
    task = FlipFlopDataset(p_ignore=p)
    expected = brute_flip_flop(steps, p)
    assert task.order_blind_ceiling(2 * steps) == pytest.approx(expected, abs=1e-8)
    assert task.order_blind_ceiling(2 * steps - 1) == pytest.approx(expected, abs=1e-8)
    assert task.order_aware_ceiling(2 * steps) == 1.0


def test_flip_flop_blind_ceiling_bounds_a_majority_vote() -> None:
    """The majority of the bits so far is an order-blind rule; at length 64 it is at most .05 below the ceiling."""
    task = FlipFlopDataset()
    tokens, targets = task.sample(generator(0, "vote"), 20_000, 64)
    lean = ((tokens == 1).long() - (tokens == 0).long()).cumsum(1)
    hit = torch.where(lean == 0, 0.5, ((lean > 0).long() == targets).double())
    asked = targets != IGNORE
    share = hit[asked].mean().item()
    ceiling = task.order_blind_ceiling(64)
    assert ceiling - 0.05 < share < ceiling + 4 * 0.5 / math.sqrt(20_000)


@pytest.mark.parametrize(("vocab_size", "order"), [(8, 2), (5, 1), (2, 4)])
@given(extra=st.integers(0, 40), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_markov_targets_are_the_next_tokens(vocab_size: int, order: int, extra: int, seed: int) -> None:
    task = MarkovDataset(length=64, vocab_size=vocab_size, order=order)
    length = order + extra
    tokens, targets = task.sample(generator(seed, "test"), 16, length)
    assert tokens.shape == targets.shape == (16, length)
    assert tokens.dtype == targets.dtype == torch.int64
    assert tokens.min() >= 0
    assert tokens.max() < vocab_size
    for row, answer in zip(tokens.tolist(), targets.tolist(), strict=True):
        assert answer[: order - 1] == [IGNORE] * (order - 1)
        assert answer[order - 1 : -1] == row[order:]
        assert 0 <= answer[-1] < vocab_size


def contexts(task: MarkovDataset, tokens: torch.Tensor) -> torch.Tensor:
    """The number of the context at each place with a context."""
    windows = tokens.unfold(1, task.order, 1)
    return (windows * torch.tensor([task.vocab_size ** (task.order - 1 - i) for i in range(task.order)])).sum(-1)


@pytest.mark.parametrize(("vocab_size", "order"), [(3, 2), (4, 1)])
def test_markov_samples_follow_the_table_at_every_place(vocab_size: int, order: int) -> None:
    task, batch, length = MarkovDataset(vocab_size=vocab_size, order=order, concentration=1.0), 20_000, 10
    tokens, targets = task.sample(generator(0, "law"), batch, length)
    seen, following = contexts(task, tokens), targets[:, order - 1 :]
    for place in (0, 4, length - order):
        share = torch.bincount(seen[:, place], minlength=len(task.stationary)).double().numpy() / batch
        error = np.sqrt(task.stationary / batch)
        assert (np.abs(share - task.stationary) < 4.5 * error + 1e-9).all()
    for context, row in enumerate(task.table):
        drawn = following[seen == context]
        share = torch.bincount(drawn, minlength=vocab_size).double().numpy() / len(drawn)
        assert (np.abs(share - row) < 4.5 * np.sqrt(row * (1 - row) / len(drawn))).all()


@pytest.mark.parametrize("order", [1, 2, 3])
def test_markov_ceiling_and_references_against_linear_algebra(order: int) -> None:
    V = 3
    task = MarkovDataset(vocab_size=V, order=order, table_seed=5)
    np.testing.assert_allclose(task.table.sum(1), 1, atol=1e-12)
    assert task.table.min() >= 1 / 1024
    words = list(itertools.product(range(V), repeat=order))
    chain = np.zeros((V**order, V**order))
    for i, word in enumerate(words):
        for symbol in range(V):
            chain[i, words.index((*word[1:], symbol))] = task.table[i, symbol]
    system = np.vstack((chain.T - np.eye(V**order), np.ones(V**order)))
    law = np.linalg.lstsq(system, np.append(np.zeros(V**order), 1), rcond=None)[0]
    np.testing.assert_allclose(task.stationary, law, atol=1e-10)
    assert task.order_aware_ceiling(9) == pytest.approx(
        sum(p * max(row) for p, row in zip(law, task.table, strict=True))
    )
    rate = -sum(p * q * math.log2(q) for p, row in zip(law, task.table, strict=True) for q in row)
    single = [sum(p for p, word in zip(law, words, strict=True) if word[-1] == s) for s in range(V)]
    references = task.references()
    assert references["entropy_rate_bits"] == pytest.approx(rate)
    assert references["unigram_entropy_bits"] == pytest.approx(-sum(p * math.log2(p) for p in single))
    assert references["unigram_accuracy"] == pytest.approx(max(single))
    last = np.zeros((V, V))
    for p, word, row in zip(law, words, task.table, strict=True):
        last[word[-1]] += p * row
    assert references["last_token_accuracy"] == pytest.approx(last.max(1).sum())
    blind = task.order_blind_ceiling(9)
    assert blind == (task.order_aware_ceiling(9) if order == 1 else None)


def test_markov_ceiling_and_entropy_against_monte_carlo() -> None:
    task, batch = MarkovDataset(), 4000
    tokens, targets = task.sample(generator(0, "bayes"), batch, 32)
    row = torch.from_numpy(task.table)[contexts(task, tokens)]
    asked = targets[:, 1:]
    hit = (row.argmax(-1) == asked).double().mean(1)
    bits = -row.gather(-1, asked[..., None])[..., 0].log2().mean(1)
    assert hit.mean().item() == pytest.approx(task.order_aware_ceiling(32), abs=4 * hit.std().item() / math.sqrt(batch))
    expected = task.references()["entropy_rate_bits"]
    assert bits.mean().item() == pytest.approx(expected, abs=4 * bits.std().item() / math.sqrt(batch))
    assert expected < 0.8 * task.references()["unigram_entropy_bits"]


def test_markov_table_is_fixed_by_its_seed_alone() -> None:
    a, b, c = MarkovDataset(), MarkovDataset(length=64), MarkovDataset(table_seed=1)
    assert np.array_equal(a.table, b.table)
    assert not np.array_equal(a.table, c.table)


@pytest.mark.parametrize("task", [FlipFlopDataset(), MarkovDataset()])
def test_samples_come_from_the_generator_alone(task: Task) -> None:
    before = torch.get_rng_state()
    (a, _), (b, _) = (task.sample(generator(3, "x"), 50, 32) for _ in range(2))
    assert torch.equal(a, b)
    assert not torch.equal(a, task.sample(generator(4, "x"), 50, 32)[0])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (FlipFlopDataset, {"p_ignore": 1.2}, "p_ignore must be a number ≥ 0 and ≤ 1, got 1.2"),
        (FlipFlopDataset, {"causal": False}, r"set dataset\.causal=true"),
        (FlipFlopDataset, {"length": 2}, "length must be at least 3, got 2"),
        (MarkovDataset, {"causal": False}, r"set dataset\.causal=true"),
        (MarkovDataset, {"order": 0}, "order must be a whole number ≥ 1, got 0"),
        (MarkovDataset, {"vocab_size": 20, "order": 3}, "8000 contexts; at most 4096"),
        (MarkovDataset, {"vocab_size": 1}, "vocab_size must be a whole number ≥ 2, got 1"),
        (MarkovDataset, {"concentration": 0}, r"concentration must be a number ≥ 0\.01"),
        (MarkovDataset, {"order": 4, "vocab_size": 3, "length": 3}, "length must be at least 4, got 3"),
    ],
)
def test_mistakes(make: type[Task], options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**options)
