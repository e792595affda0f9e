"""Streams and evaluation sets depend on what they should and on nothing else."""

from itertools import islice

import pytest
import torch

from posenc.checks import ConfigError
from posenc.streams import default_stream, generator, stream_seed
from posenc.tasks.copying import ReverseDataset
from posenc.tasks.pattern import PositionAwarePatternDataset
from posenc.tasks.text import TextDataset
from posenc.training.data import SequenceData, TrainStream
from posenc.training.evaluation.sets import DRAW, evaluation_set

TASK = PositionAwarePatternDataset(length=[21, 40])


def same(a: tuple, b: tuple) -> bool:
    return torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])


@pytest.mark.parametrize("train_size", [None, 70])
def test_batch_t_needs_no_batch_before_it(train_size: int | None) -> None:
    whole = list(islice(TrainStream(TASK, 16, 3, train_size), 23))
    for start in (1, 4, 5, 6, 17):
        later = islice(TrainStream(TASK, 16, 3, train_size, start=start), 23 - start)
        assert all(same(a, b) for a, b in zip(whole[start:], later, strict=True))


def test_seeds_differ_and_lengths_vary() -> None:
    a, b = (list(islice(TrainStream(TASK, 4, seed, None), 60)) for seed in (0, 1))
    assert not any(same(x, y) for x, y in zip(a, b, strict=True))
    assert {tokens.shape[1] for tokens, _ in a} > {22, 30, 38}
    assert all(21 <= tokens.shape[1] <= 40 for tokens, _ in a)


def test_a_finite_set_is_seen_once_an_epoch() -> None:
    batches = list(islice(TrainStream(TASK, 16, 0, 70), 10))
    assert [len(targets) for _, targets in batches] == [16, 16, 16, 16, 6] * 2
    epochs = [torch.cat([tokens for tokens, _ in half]) for half in (batches[:5], batches[5:])]
    rows = [sorted(map(tuple, epoch.tolist())) for epoch in epochs]
    assert rows[0] == rows[1]
    assert not torch.equal(epochs[0], epochs[1])


def test_evaluation_sets_are_fixed_and_apart() -> None:
    a = evaluation_set(TASK, "test", 32, DRAW + 100)
    assert same(a, evaluation_set(PositionAwarePatternDataset(), "test", 32, DRAW + 100))
    assert len(a[0]) == DRAW + 100
    assert torch.equal(a[0][:DRAW], evaluation_set(TASK, "test", 32, DRAW)[0])
    assert not torch.equal(a[0], evaluation_set(TASK, "validation", 32, DRAW + 100)[0])
    assert len({tuple(row) for row in a[0].tolist()}) == DRAW + 100


def test_test_loaders_follow_the_test_lengths() -> None:
    task = PositionAwarePatternDataset(length=32, test_lengths=[64, 32])
    loaders = SequenceData(task, 0, eval_size=50, eval_tokens_per_batch=640).test_dataloader()
    shapes = [[tuple(tokens.shape) for tokens, _ in loader] for loader in loaders]
    assert shapes == [[(20, 32), (20, 32), (10, 32)], [(10, 64)] * 5]


def test_a_curriculum_grows_through_the_range() -> None:
    stream = TrainStream(TASK, 2, 0, curriculum_steps=100)
    longest = [21 + 19 * t // 100 for t in range(100)]
    lengths = [stream.fresh(t)[0].shape[1] for t in range(100)]
    assert all(21 <= length <= limit for length, limit in zip(lengths, longest, strict=True))
    assert sum(lengths[:30]) / 30 < 25 < 27 < sum(lengths[70:]) / 30
    plain = TrainStream(TASK, 2, 0)
    assert all(same(stream.fresh(t), plain.fresh(t)) for t in (100, 101, 250))
    for task, options in ((PositionAwarePatternDataset(), {}), (TASK, {"train_size": 100})):
        with pytest.raises(ConfigError, match=r"data\.curriculum_steps=0"):
            SequenceData(task, 0, curriculum_steps=10, **options)


def test_longer_evaluation_sets_are_smaller_and_read_in_smaller_batches() -> None:
    data = SequenceData(PositionAwarePatternDataset(test_lengths=[32, 128, 4096]), 0, eval_tokens=262_144)
    assert [data.size(length) for length in (32, 128, 4096)] == [8192, 2048, 1000]
    assert SequenceData(PositionAwarePatternDataset(), 0, eval_size=50).size(4096) == 50
    assert data._evaluation("test", 512, 1000).batch_size == 64
    assert data._evaluation("test", 4096, 1000).batch_size == 2  # 2 · 4096² pairs, as 32 sequences of length 1,024 have
    assert SequenceData(ReverseDataset(), 0, eval_tokens=2**16).size(32) == 1024  # reads 64 tokens


@pytest.mark.slow
def test_text_evaluates_on_test_bytes() -> None:
    task = TextDataset(length=24)
    tokens, _ = evaluation_set(task, "test", 24, 20)
    test_bytes = bytes(task._splits["test"].tolist())
    assert all(bytes(row.tolist()) in test_bytes for row in tokens)


def test_streams_are_named_and_leave_the_default_generator_alone() -> None:
    assert stream_seed(0, "a") != stream_seed(0, "b") != stream_seed(1, "b")
    before = torch.get_rng_state()
    with default_stream(5, "x"):
        inside = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(inside, torch.rand(3, generator=generator(5, "x")))
