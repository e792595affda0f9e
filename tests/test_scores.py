"""Scores against numpy."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from posenc.tasks.base import IGNORE
from posenc.training.scores import Scores


@pytest.mark.parametrize("tokens", [None, 6])
def test_scores_are_those_of_the_whole_set_whatever_the_batches(tokens: int | None) -> None:
    shape = (50,) if tokens is None else (50, tokens)
    logits, targets = torch.randn(*shape, 5), torch.randint(5, shape)
    if tokens is not None:
        targets[:, ::3] = IGNORE
        targets[7] = IGNORE  # a sequence that asks nothing
    scores = Scores(tokens)
    for part in (slice(0, 20), slice(20, 50)):
        scores(logits[part], targets[part])
    found = scores.compute()
    asked = (targets != IGNORE).reshape(50, -1).numpy()
    right = (logits.argmax(-1) == targets).reshape(50, -1).numpy() & asked
    shares = right.sum(1)[asked.any(1)] / asked.sum(1)[asked.any(1)]
    nll = F.cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=IGNORE).item()
    assert found["accuracy"] == pytest.approx(right.sum() / asked.sum(), abs=1e-6)
    more = [*shares, 0, 1]  # Agresti & Caffo 2000
    assert found["accuracy_standard_error"] == pytest.approx(np.std(more) / np.sqrt(len(more)), abs=1e-6)
    assert found["loss"] == pytest.approx(nll, abs=1e-5)
    assert found["bits"] == pytest.approx(nll / np.log(2), abs=1e-5)
    counts, one = asked.sum(1)[asked.any(1)], F.cross_entropy
    losses = np.array(
        [
            one(logits[i].reshape(-1, 5).double(), targets[i].reshape(-1), ignore_index=IGNORE, reduction="sum").item()
            for i in np.flatnonzero(asked.any(1))
        ]
    )
    spread = (losses - losses.sum() / counts.sum() * counts).std(ddof=1)
    error = spread / np.sqrt(len(counts)) / counts.mean() / np.log(2)
    assert found["bits_standard_error"] == pytest.approx(error, rel=1e-5)


def test_the_error_of_bits_is_as_large_as_they_vary_between_samples() -> None:
    """Of 400 test sets of 64 sequences whose targets are alike within a sequence."""
    found = []
    for _ in range(400):
        scores = Scores(5)
        scores(torch.randn(64, 1, 3).expand(-1, 5, -1), torch.zeros(64, 5, dtype=torch.long))
        found.append(scores.compute() | {"last": scores.by_place()[-1]})
    varies = np.std([row["bits"] for row in found])
    assert np.mean([row["bits_standard_error"] for row in found]) == pytest.approx(varies, rel=0.15)
    assert np.mean([row["last"]["bits_standard_error"] for row in found]) == pytest.approx(varies, rel=0.15)


def test_of_one_sequence_no_error_is_known() -> None:
    scores = Scores(2)
    scores(torch.randn(1, 2, 3), torch.zeros(1, 2, dtype=torch.long))
    assert "bits_standard_error" not in scores.compute()
    assert all(math.isnan(row["bits_standard_error"]) for row in scores.by_place())


def test_exact_match_is_the_share_of_sequences_with_no_wrong_answer() -> None:
    targets = torch.randint(5, (8, 6))
    targets[:, 0] = IGNORE
    answers = targets.clamp(min=0)
    answers[:, 0] = 3  # not asked
    answers[:3, 2] = (answers[:3, 2] + 1) % 5
    scores = Scores(6)
    scores(F.one_hot(answers, 5).float(), targets)
    found = scores.compute()
    assert found["exact_match"] == pytest.approx(5 / 8)
    assert found["accuracy"] == pytest.approx(37 / 40)


def test_scores_start_anew() -> None:
    scores, logits = Scores(), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    scores(logits, torch.tensor([1, 0]))
    assert scores.compute()["accuracy"] == 0
    scores(logits, torch.tensor([0, 1]))
    assert scores.compute()["accuracy"] == 1


def test_every_place_is_scored_by_itself() -> None:
    logits, targets = torch.randn(30, 6, 4), torch.randint(4, (30, 6))
    targets[:, 2] = IGNORE  # never asked
    targets[::2, 4] = IGNORE
    scores = Scores(6)
    for part in (slice(0, 7), slice(7, 30)):
        scores(logits[part], targets[part])
    rows = {int(row["position"]): row for row in scores.by_place()}
    assert sorted(rows) == [0, 1, 3, 4, 5]
    for place, row in rows.items():
        asked = targets[:, place] != IGNORE
        found, wanted = logits[asked, place], targets[asked, place]
        assert row["asked"] == asked.sum()
        assert row["accuracy"] == pytest.approx((found.argmax(-1) == wanted).float().mean().item())
        assert row["bits"] == pytest.approx(F.cross_entropy(found, wanted).item() / np.log(2), rel=1e-5)
        each = F.cross_entropy(found, wanted, reduction="none").numpy() / np.log(2)
        assert row["bits_standard_error"] == pytest.approx(each.std(ddof=1) / np.sqrt(len(each)), rel=1e-5)
        assert row["perplexity"] == pytest.approx(math.exp(F.cross_entropy(found, wanted).item()), rel=1e-5)
    assert Scores().by_place() == []


def test_a_sequence_of_one_place_has_that_place() -> None:
    logits, targets = torch.randn(30, 1, 4), torch.randint(4, (30, 1))
    scores = Scores(1)
    scores(logits, targets)
    right = (logits.argmax(-1) == targets).double().mean().item()
    bits = F.cross_entropy(logits[:, 0], targets[:, 0]).item() / np.log(2)
    (row,) = scores.by_place()
    assert (row["position"], row["asked"]) == (0, 30)
    assert (row["accuracy"], row["bits"]) == (pytest.approx(right), pytest.approx(bits, rel=1e-5))


def test_one_loss_that_is_no_number_is_not_left_out() -> None:
    scores, targets = Scores(), torch.tensor([0, 1])
    scores(torch.eye(3)[:2], targets)
    scores(torch.eye(3)[:2], torch.full((2,), IGNORE))  # a batch that asks nothing changes nothing
    assert scores.compute()["loss"] == pytest.approx(F.cross_entropy(torch.eye(3)[:2], targets).item())
    scores(torch.full((2, 3), torch.nan), targets)
    scores(torch.eye(3)[:2], targets)
    assert math.isnan(scores.compute()["loss"])
