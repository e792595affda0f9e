"""What every task promises, over every yaml in configs/dataset."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch.nn import functional as F

from posenc.checks import ConfigError
from posenc.scores import Scores
from posenc.streams import generator
from posenc.tasks.base import IGNORE, Task, skill
from tests.conftest import options

TASKS = options("dataset")


@pytest.fixture(scope="module")
def task(request: pytest.FixtureRequest, composed: Callable[..., DictConfig]) -> Task:
    return instantiate(composed(f"dataset={request.param}").dataset, _convert_="all")


every_task = pytest.mark.parametrize("task", TASKS, indirect=True)


@every_task
@pytest.mark.parametrize("more", [0, 1, 30])
def test_tokens_and_targets_have_the_promised_form(task: Task, more: int) -> None:
    length = task.min_length + more
    tokens, targets = task.sample(generator(0, "form"), 33, length)
    assert tokens.dtype == targets.dtype == torch.int64
    assert len(tokens) == len(targets) == 33
    assert targets.shape in {tokens.shape, (33,)}
    assert (targets.ndim == 2) == (task.readout == "per_token")
    assert tokens.min() >= 0
    assert tokens.max() < task.vocab_size
    asked = targets[targets != IGNORE]
    assert asked.min() >= 0
    assert asked.max() < task.num_outputs


@every_task
def test_every_draw_comes_from_the_generator(task: Task) -> None:
    length = max(task.min_length, 24)
    before = torch.get_rng_state()
    a, b = (task.sample(generator(3, "x"), 40, length) for _ in range(2))
    c, _ = task.sample(generator(4, "x"), 40, length)
    assert torch.equal(a[0], b[0])
    assert torch.equal(a[1], b[1])
    assert not torch.equal(a[0], c)
    assert torch.equal(torch.get_rng_state(), before)


@every_task
def test_a_right_answer_everywhere_scores_one(task: Task) -> None:
    length = task.length[1]
    blind, aware = task.order_blind_ceiling(length), task.order_aware_ceiling(length)
    for ceiling in (blind, aware):
        assert ceiling is None or 0 <= ceiling <= 1 + 1e-12
    if blind is not None and aware is not None:
        assert blind <= aware + 1e-12
    tokens, targets = task.sample(generator(0, "right"), 64, length)
    logits = F.one_hot(targets.clamp(min=0), task.num_outputs).float()
    scores = Scores(task.num_outputs, targets.shape[1] if targets.ndim == 2 else None)
    scores(logits, targets)
    found = scores.compute()
    assert found["accuracy"] == 1
    assert found.get("exact_match", 1) == 1
    if aware == 1 and skill(1.0, blind, aware) is not None:
        assert skill(found["accuracy"], blind, aware) == pytest.approx(1)
    assert tokens.shape[0] == 64


@every_task
def test_lengths_below_the_least_are_refused(task: Task, composed: Any, request: pytest.FixtureRequest) -> None:
    if task.min_length == 1:
        return
    name = request.node.callspec.params["task"]
    short = composed(f"dataset={name}", f"dataset.length={task.min_length - 1}").dataset
    with pytest.raises(Exception, match=rf"length.*{task.min_length}|{task.min_length}.*length") as caught:
        instantiate(short, _convert_="all")
    assert isinstance(caught.value.__cause__, ConfigError)


@every_task
def test_by_default_a_run_is_tested_far_past_its_training_length(task: Task) -> None:
    assert task.length == (task.length[1],) * 2
    wanted = {round(k * task.length[1]) for k in (1, 1.5, 2, 4, 8)}
    assert task.test_lengths == sorted(length for length in wanted if length <= task.max_length)
    assert len(task.test_lengths) >= 3
    for length in task.test_lengths:
        tokens, _ = task.sample(generator(0, "long"), 2, length)
        assert tokens.max() < task.vocab_size


@every_task
def test_the_docstring_has_a_law_an_example_a_guess_and_what_is_published(task: Task) -> None:
    text = type(task).__doc__ or ""
    assert re.search(r"[Rr]andom\s+guess", text), "how good is a random guess?"
    assert re.search(r"\n {8}\S", text), "a drawn example"
    published = re.search(r"\n\n {4}Published: (.+?)(?=\n\n|\n {4}$)", text, re.DOTALL)
    assert published, "what is known about encodings on this task? A paragraph `Published: ...`, with its source"
    assert "https://arxiv.org/abs/" in text or "nothing that we know of" in published[1], "where is that published?"
