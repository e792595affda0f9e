"""Ceilings are computed once for a task, and are those of the task, mask, read-out and window that are asked for."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from omegaconf import DictConfig

from posenc.config.build import build_module
from posenc.config.make import make
from posenc.model.encoder import Encoder
from posenc.tasks.pattern import PositionAwarePatternDataset
from posenc.training.evaluation.ceilings import achievable
from posenc.training.module import SequenceModule


@pytest.fixture
def module(composed: Callable[..., DictConfig]) -> Callable[..., SequenceModule]:
    def made(*words: str) -> SequenceModule:
        config = composed(*words)
        return build_module(config, make(config, "dataset"))

    return made


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, int]]:
    """How often a task was asked, by its name and the length."""
    counted = Counter[tuple[str, int]]()
    ask = PositionAwarePatternDataset.ceilings

    def count(task: PositionAwarePatternDataset, length: int, **how: Any) -> Any:
        counted[str(task), length] += 1
        return ask(task, length, **how)

    monkeypatch.setattr(PositionAwarePatternDataset, "ceilings", count)
    return counted


def test_a_second_run_of_a_task_computes_no_ceiling_and_has_the_same(
    module: Callable[..., SequenceModule], asked: Counter[tuple[str, int]]
) -> None:
    words = "dataset=pattern", "dataset.length=27", "dataset.test_lengths=[27,29]"
    first, second = module(*words, "encoding=none", "seed=3"), module(*words, "encoding=rope", "seed=4")
    assert [*asked.values()] == [1, 1]
    assert first.ceilings == second.ceilings
    first.ceilings.clear()
    assert sorted(module(*words).ceilings) == [27, 29]


@pytest.mark.parametrize(
    "other", ["dataset.vocab_size=30", "model.causal=true", "model.readout=last", "model.window=3"]
)
def test_what_differs_is_not_shared(module: Callable[..., SequenceModule], other: str) -> None:
    words = "dataset=pattern", "dataset.length=24", "dataset.test_lengths=[24]"
    module(*words)
    there = module(*words, other)
    encoder, task = there.encoder, there.task
    how: dict[str, Any] = {"causal": encoder.causal, "readout": encoder.readout, "window": encoder.window}
    assert there.ceilings == {24: task.ceilings(24, **how)}


def test_a_task_that_holds_anything_is_asked_each_time(
    module: Callable[..., SequenceModule], asked: Counter[tuple[str, int]]
) -> None:
    encoder: Encoder = module("dataset=pattern").encoder
    asked.clear()
    task = PositionAwarePatternDataset(length=23, test_lengths=[23])
    task.own = lambda: None  # pyright: ignore[reportAttributeAccessIssue]
    assert achievable(task, encoder) == achievable(task, encoder)
    assert asked["PositionAwarePatternDataset", 23] == 2
