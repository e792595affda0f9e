"""What every task promises, over every yaml in configs/dataset."""

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch.nn import functional as F

from posenc.checks import ConfigError
from posenc.config.build import build_module
from posenc.streams import generator
from posenc.tasks.base import IGNORE, Task, skill
from posenc.tasks.counting import _PrefixTask
from posenc.training.scores import Scores
from tests.conftest import options

TASKS = options("dataset")


@pytest.fixture(scope="module")
def task(request: pytest.FixtureRequest, composed: Callable[..., DictConfig]) -> Task:
    return instantiate(composed(f"dataset={request.param}").dataset, _convert_="all")


every_task = pytest.mark.parametrize("task", TASKS, indirect=True)


@pytest.mark.every
@every_task
@pytest.mark.parametrize("more", [0, 1, 30])
def test_tokens_and_targets_have_the_promised_form(task: Task, more: int) -> None:
    length = task.min_length + more
    tokens, targets = task.sample(generator(0, "form"), 33, length)
    assert tokens.dtype == targets.dtype == torch.int64
    assert len(tokens) == len(targets) == 33
    assert targets.shape in {tokens.shape, (33,)}
    assert (targets.ndim == 2) == task.per_token == (task.readout == "per_token")
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
    scores = Scores(targets.shape[1] if targets.ndim == 2 else None)
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
def test_an_example_is_drawn_a_guess_is_named_and_what_is_published_is_said(task: Task) -> None:
    text = inspect.getdoc(type(task)) or ""
    assert "random guess" in " ".join(text.lower().split()), "how good is a random guess?"
    assert any(line.startswith("    ") for line in text.splitlines()), "a drawn example"
    assert "published" in vars(type(task)), "what is known about encodings on this task?"
    assert "https://arxiv.org/abs/" in text + task.published or "nothing that we know of" in task.published, "where?"


def copied(task: Task, ahead: int) -> float:
    """Test accuracy of the best table from the token `ahead` places after a query to its answer, drawn from data."""
    shown = []
    for name in ("a table", "its test"):
        tokens, targets = task.sample(generator(0, name), 100, task.length[1])
        later, answers = tokens[:, ahead:], targets[:, : targets.shape[1] - ahead]
        shown.append((later[answers != IGNORE], answers[answers != IGNORE]))
    (tokens, answers), (later, right) = shown
    counts = torch.zeros(task.vocab_size, task.num_outputs)
    counts.index_put_((tokens, answers), torch.ones(len(tokens)), accumulate=True)
    return (counts.argmax(1)[later] == right).double().mean().item()


@pytest.mark.parametrize("name", TASKS)
def test_a_task_whose_later_tokens_show_its_answers_is_refused_without_a_causal_mask(
    composed: Callable[..., DictConfig], name: str
) -> None:
    """Found by a model that copies: with the next token, or the one after, it beats what order allows, or errs never.

    Tasks for which later tokens say something, yet not all, are declared by hand: `_PrefixTask`.
    """
    config = composed(f"dataset={name}", "model.causal=false")
    for causal in (True, False):
        config.dataset.causal = causal
        try:
            task: Task = instantiate(config.dataset, _convert_="all")
        except InstantiationException as error:
            assert re.search(r"set dataset\.causal=(true|false)\.", str(error))  # noqa: PT017
            continue
        if not task.per_token:  # one answer, after all tokens
            assert task.needs_causal is None
            return
        reached = max(copied(task, ahead) for ahead in (1, 2))
        shows = reached > 0.99 or reached > (task.order_aware_ceiling(task.length[1]) or 1.0) + 0.02
        assert shows == (task.needs_causal is True and not isinstance(task, _PrefixTask)), reached
        if task.needs_causal:
            variant = "dataset.causal=false" if type(task).needs_causal is None else "model.causal=true"
            with pytest.raises(ConfigError, match=f"reads the answers in later tokens; .*set .*{re.escape(variant)}"):
                build_module(config, task)


def test_counts_of_the_whole_sequence_are_not_asked_of_a_causal_model(composed: Callable[..., DictConfig]) -> None:
    config = composed("dataset=histogram", "model.causal=true")
    with pytest.raises(ConfigError, match=r"which a causal model has not seen; set model\.causal=false"):
        build_module(config, instantiate(config.dataset, _convert_="all"))
