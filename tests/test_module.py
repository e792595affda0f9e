"""Scores against numpy; the learning-rate schedule at its corners."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from posenc.module import Scores, warmup_cosine
from posenc.tasks.base import IGNORE


@pytest.mark.parametrize("tokens", [None, 6])
def test_scores_are_those_of_the_whole_set_whatever_the_batches(tokens: int | None) -> None:
    shape = (50,) if tokens is None else (50, tokens)
    logits, targets = torch.randn(*shape, 5), torch.randint(5, shape)
    if tokens is not None:
        targets[:, ::3] = IGNORE
        targets[7] = IGNORE  # a sequence that asks nothing
    scores = Scores(5)
    for part in (slice(0, 20), slice(20, 50)):
        loss = F.cross_entropy(logits[part].flatten(0, -2), targets[part].flatten(), ignore_index=IGNORE)
        scores(logits[part], targets[part], loss)
    found = scores.compute()
    asked = (targets != IGNORE).reshape(50, -1).numpy()
    right = (logits.argmax(-1) == targets).reshape(50, -1).numpy() & asked
    shares = right.sum(1)[asked.any(1)] / asked.sum(1)[asked.any(1)]
    nll = F.cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=IGNORE).item()
    assert found["accuracy"] == pytest.approx(right.sum() / asked.sum(), abs=1e-6)
    assert found["accuracy_standard_error"] == pytest.approx(np.std(shares) / np.sqrt(len(shares)), abs=1e-6)
    assert found["loss"] == pytest.approx(nll, abs=1e-5)
    assert found["bits"] == pytest.approx(nll / np.log(2), abs=1e-5)


def test_exact_match_is_the_share_of_sequences_with_no_wrong_answer() -> None:
    targets = torch.randint(5, (8, 6))
    targets[:, 0] = IGNORE
    answers = targets.clamp(min=0)
    answers[:, 0] = 3  # not asked
    answers[:3, 2] = (answers[:3, 2] + 1) % 5
    scores = Scores(5)
    scores(F.one_hot(answers, 5).float(), targets, torch.tensor(0.0))
    found = scores.compute()
    assert found["exact_match"] == pytest.approx(5 / 8)
    assert found["accuracy"] == pytest.approx(37 / 40)


def test_scores_start_anew() -> None:
    scores, logits = Scores(2), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    loss = torch.tensor(1.0)
    scores(logits, torch.tensor([1, 0]), loss)
    assert scores.compute()["accuracy"] == 0
    scores(logits, torch.tensor([0, 1]), loss)
    assert scores.compute()["accuracy"] == 1


def test_learning_rate_rises_linearly_and_falls_to_zero() -> None:
    shares = [warmup_cosine(step, 10, 110) for step in range(111)]
    assert shares[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert shares[10] == 1
    assert shares[60] == pytest.approx(0.5)
    assert shares[110] == pytest.approx(0, abs=1e-12)
    assert all(a >= b for a, b in pairwise(shares[10:]))
