"""A label means the same at every length: an offset that determines it at the trained length does so at all lengths."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from posenc.streams import generator
from posenc.tasks.base import Task
from posenc.tasks.distance import DistanceDataset, SignedDistance
from tests.conftest import CONFIGS, options

CLASSIFICATION = [
    name
    for name in options("dataset")
    if OmegaConf.select(OmegaConf.load(CONFIGS / f"dataset/{name}.yaml"), "readout") != "per_token"
]
RARE = 9
"""The number of tokens whose offsets are counted: the first of the vocabulary, with the markers of most tasks."""


def by_offset(task: Task, length: int) -> dict[tuple[int, int, int], np.ndarray]:
    """{(a, b, j − i): count of each class}, for tokens a at i and b at j that each sequence has exactly once."""
    tokens, targets = task.sample(generator(0, f"offsets/{length}"), 2000, length)
    known = min(RARE, task.vocab_size)
    equal = tokens[:, None, :] == torch.arange(known)[:, None]
    once, place = equal.sum(2) == 1, equal.int().argmax(2)
    found: dict[tuple[int, int, int], np.ndarray] = {}
    for a in range(known):
        for b in range(known):
            both = once[:, a] & once[:, b]
            if a != b and both.all():
                offset = (place[both, b] - place[both, a]).numpy() + length
                table = np.zeros((2 * length, task.num_outputs), dtype=int)
                np.add.at(table, (offset, targets[both].numpy()), 1)
                found |= {(a, b, int(i) - length): table[i] for i in np.flatnonzero(table.sum(1) >= 20)}
    return found


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_an_offset_that_names_the_class_names_the_same_one_at_other_lengths(
    composed: Callable[..., DictConfig], name: str
) -> None:
    """If the offset of two tokens determines the class at one length, it determines the same class at other lengths."""
    task: Task = instantiate(composed(f"dataset={name}").dataset, _convert_="all")
    trained = by_offset(task, 32)
    for length in (24, 48):
        for pair, counts in by_offset(task, length).items():
            if pair in trained and (trained[pair] > 0).sum() == 1:
                assert counts[trained[pair].argmax()] == counts.sum(), (length, pair)


@pytest.mark.parametrize("task", [DistanceDataset(length=[8, 32]), SignedDistance(length=[8, 32])], ids=str)
def test_a_perfect_meter_of_distance_answers_at_every_length(task: Task) -> None:
    """A table from distance to class, made at the longest trained length, is right at all lengths.

    Greater distances than those in the table belong to the last bin.
    """
    table: dict[int, int] = {}

    def distance(tokens: torch.Tensor) -> list[int]:
        five, eight = ((tokens == marker).int().argmax(1) for marker in (5, 8))
        away = eight - five
        return (away if isinstance(task, SignedDistance) else away.abs()).clamp(-31, 31).tolist()

    for tokens, targets in (task.sample(generator(0, "meter"), 20_000, 32),):
        table |= dict(zip(distance(tokens), targets.tolist(), strict=True))
    for length in (8, 31, 33, 48, 256):
        tokens, targets = task.sample(generator(1, "meter"), 2000, length)
        assert [table[away] for away in distance(tokens)] == targets.tolist()
        counts = torch.bincount(targets, minlength=task.num_outputs)
        shown = counts > 0
        assert task.order_blind_ceiling(length) == pytest.approx(1 / int(shown.sum()))
        assert (counts[shown] / 2000 - 1 / int(shown.sum())).abs().max() < 0.05
