"""Tests that end when skill is known: what is read, when it ends, and what is said of the error."""

from collections.abc import Callable

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor

from posenc.checks import ConfigError
from posenc.config.build import build_module
from posenc.config.make import make
from posenc.streams import generator
from posenc.tasks.copying import ReverseDataset
from posenc.tasks.places import RelativePattern
from posenc.training.data import SequenceData
from posenc.training.evaluation.sets import DRAW, EvaluationBatches, EvaluationSet, evaluation_set
from posenc.training.module import SequenceModule
from posenc.training.scores import Scores

TASK = RelativePattern()


def never() -> bool:
    return False


def test_any_part_of_a_set_is_that_part_of_the_whole() -> None:
    size = 2 * DRAW + 77
    whole, fresh = evaluation_set(TASK, "test", 16, size), EvaluationSet(TASK, "test", 16, size)
    for first, last in ((0, 3), (DRAW - 1, DRAW + 1), (500, size), (DRAW, 2 * DRAW), (size - 1, size), (0, size)):
        for part, all_of_it in zip(fresh.read(first, last), whole, strict=True):
            assert torch.equal(part, all_of_it[first:last])


@pytest.mark.parametrize("world", [1, 3])
@pytest.mark.parametrize(("chunk", "batch_size"), [(100, 7), (33, 64), (250, 250)])
def test_all_chunks_together_are_the_set_whoever_reads_them(world: int, chunk: int, batch_size: int) -> None:
    tokens, _ = evaluation_set(TASK, "test", 8, 250)
    found, lengths = list[Tensor](), set[int]()
    for rank in range(world):
        reader = EvaluationBatches(EvaluationSet(TASK, "test", 8, 250), chunk, batch_size, rank, world, never)
        batches = [*reader]
        assert len(reader) == len(batches)
        lengths.add(reader.used)
        found += [part for part, _ in batches]
    assert lengths == {250}
    rows = torch.cat(found)
    assert sorted(map(tuple, rows.tolist())) == sorted(map(tuple, tokens.tolist()))
    if world == 1:
        assert torch.equal(rows, tokens)


@pytest.mark.parametrize("batch_size", [1, 30, 1000])
def test_a_reader_ends_after_a_chunk_and_not_in_one(batch_size: int) -> None:
    asked = iter([False, True])
    reader = EvaluationBatches(EvaluationSet(TASK, "test", 8, 500), 100, batch_size, 0, 1, lambda: next(asked))
    read = torch.cat([tokens for tokens, _ in reader])
    assert torch.equal(read, evaluation_set(TASK, "test", 8, 500)[0][:200])
    assert reader.used == 200


@pytest.fixture(scope="module")
def module(composed: Callable[..., DictConfig]) -> SequenceModule:
    config = composed("dataset=rel_pattern", "encoding=none", "dataset.length=8", "dataset.test_lengths=[8]")
    return build_module(config, make(config, "dataset"))


def answer(
    module: SequenceModule, right: float, seed: int, error: float | None, size: int = 10_000
) -> tuple[int, float]:
    """Let answers be right with probability `right`. Returns the number of sequences that were read, and the skill."""
    data = SequenceData(module.task, 0, eval_size=size, eval_error=error)
    data.known = module.known
    stream, scores = generator(seed, "answers"), module._test_scores(8)
    (loader,) = data.test_dataloader()
    for _, targets in loader:
        lucky = torch.rand(len(targets), generator=stream) < right
        answers = torch.where(lucky, targets, (targets + 1) % 4)
        scores(torch.nn.functional.one_hot(answers, 4).float(), targets)
    return data.used(8), module._scores(scores.compute(), 8)["skill"]


def test_solved_and_unlearned_models_cost_a_tenth_and_others_what_they_need(module: SequenceModule) -> None:
    assert answer(module, 1.0, 0, 0.005) == (1000, 1.0)
    assert answer(module, 0.0, 0, 0.005)[0] == 1000  # worse than chance
    assert answer(module, 0.25, 0, 0.005)[0] == 1000  # skill 0
    assert answer(module, 0.6, 0, 0.005)[0] == 10_000
    assert answer(module, 0.6, 0, 0.01)[0] == 5000  # √(.24 / n) / .75 ≤ .01 from n = 4,267 on
    assert answer(module, 0.6, 0, None)[0] == 10_000
    assert answer(module, 1.0, 0, 0.001)[0] == 2000  # one error in 1,000 is possible: 1 / 1,002 / .75 > .001
    assert answer(module, 1.0, 0, 0.005, size=60)[0] == 60


@pytest.mark.parametrize("right", [0.25, 0.4, 0.9, 0.99])
def test_skill_is_that_of_the_whole_set_within_the_error_that_is_stated(module: SequenceModule, right: float) -> None:
    """The mean skill of 30 tests that end early differs from the true skill by less than the error that is asked for.
    No single test differs from it by 5 standard errors."""
    true, found = (right - 0.25) / 0.75, []
    for seed in range(30):
        used, value = answer(module, right, seed, 0.01)
        stated = ((right * (1 - right) + 2 / used) / used) ** 0.5 / 0.75
        assert abs(value - true) < 5 * stated
        found.append(value)
    assert sum(found) / 30 == pytest.approx(true, abs=0.01)


def test_an_error_is_never_none(module: SequenceModule) -> None:
    """After n right answers the next one may still be wrong, so the standard error is about 1 / n."""
    for n in (10, 1000):
        scores = Scores()
        scores(torch.eye(3)[torch.zeros(n, dtype=torch.long)], torch.zeros(n, dtype=torch.long))
        found = scores.compute()
        assert found["accuracy"] == 1
        assert 0.75 / n < found["accuracy_standard_error"] < 1 / n


def test_tokens_of_one_sequence_are_not_counted_as_if_they_were_independent() -> None:
    """A sequence whose tokens are all right or all wrong counts as one answer, at every length."""
    right = torch.rand(400) < 0.7
    one, many = Scores(), Scores(9)
    targets = torch.zeros(400, dtype=torch.long)
    logits = torch.nn.functional.one_hot((~right).long(), 2).float()
    one(logits, targets)
    many(logits[:, None].expand(-1, 9, -1), targets[:, None].expand(-1, 9))
    a, b = one.compute(), many.compute()
    assert a["accuracy_standard_error"] == pytest.approx(b["accuracy_standard_error"])


def test_a_task_without_skill_is_read_to_its_end(composed: Callable[..., DictConfig]) -> None:
    config = composed("dataset=rel_pattern", "encoding=none", "model.causal=true", "dataset.length=8")
    module = build_module(config, make(config, "dataset"))
    module._test_scores(8)(torch.eye(4)[torch.zeros(50, dtype=torch.long)], torch.zeros(50, dtype=torch.long))
    assert module.ceilings[8][0] is None
    assert not module.known(8, 1.0)


def test_validation_has_a_size_of_its_own() -> None:
    task = ReverseDataset(length=8)
    sizes = {None: 300, 100: 100, 1000: 300}
    for asked, size in sizes.items():
        data = SequenceData(task, 0, eval_size=300, validation_size=asked)
        read = torch.cat([tokens for tokens, _ in data.val_dataloader()])
        assert torch.equal(read, evaluation_set(task, "validation", 8, 300)[0][:size])
    with pytest.raises(ConfigError, match="validation_size must be a whole number ≥ 1"):
        SequenceData(task, 0, validation_size=0)
    for wrong in (0, -1, 2, "x"):
        with pytest.raises(ConfigError, match="eval_error must be a number > 0"):
            SequenceData(task, 0, eval_error=wrong)  # pyright: ignore[reportArgumentType]
