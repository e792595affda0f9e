"""The knowledge of an order-blind model depends on its read-out and mask: ceilings are compared with tables.

For small tasks a table of the most frequent answer to each (bag, token at the read-out) is the best rule. The table is
made from drawn sequences and scored on others, so it is independent of the formula of the ceiling.
"""

import math
from collections.abc import Callable

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from posenc.encodings.base import PositionalEncoding
from posenc.model.encoder import Encoder
from posenc.streams import generator
from posenc.tasks.base import Task, skill
from posenc.tasks.copying import CopyDataset, SortDataset, SumModDataset
from posenc.tasks.distance import DistanceDataset, SignedDistance
from posenc.tasks.lookup import Lookup
from posenc.tasks.pattern import PositionAwarePatternDataset
from posenc.tasks.places import AbsolutePattern, FirstOf, LastOf, RelativePattern
from posenc.tasks.recall import Induction, MultiQueryRecall, Needle
from posenc.tasks.regular import EvenPairs, ModularArithmetic, Parity
from posenc.tasks.sorting import SortingDataset
from tests.conftest import options

SMALL = [
    AbsolutePattern(length=6, vocab_size=10, places=[[0, 2], [1, 5], [5, 0]]),
    RelativePattern(length=6, vocab_size=10, offsets=[-2, -1, 1, 3]),
    DistanceDataset(length=7, test_lengths=[5, 7, 10], vocab_size=10, num_classes=3),
    SignedDistance(length=7, test_lengths=[5, 7, 10], vocab_size=10, num_classes=4),
    FirstOf(length=6, vocab_size=5, num_classes=3),
    LastOf(length=6, vocab_size=5, num_classes=3),
    EvenPairs(length=7),
    SortingDataset(length=6, vocab_size=4),
    Induction(length=9, test_lengths=[3, 9], vocab_size=4),
    Induction(length=5, vocab_size=6),
    Needle(length=6, num_values=3),
    Lookup(length=5, max_length=5, test_lengths=[5], num_values=3),
    ModularArithmetic(length=7, operators="+-", modulus=3),
    Parity(length=6),
    SumModDataset(length=5, modulus=4),
]
SIZE = 2**17


def seen(tokens: Tensor, vocab_size: int, readout: str) -> Tensor:
    """(B,): a number for each (bag, token at the read-out)."""
    counts = torch.zeros(len(tokens), vocab_size, dtype=torch.int64).scatter_add_(1, tokens, torch.ones_like(tokens))
    key = counts @ (tokens.shape[1] + 1) ** torch.arange(vocab_size)
    return key * vocab_size + tokens[:, -1] if readout == "last" else key


def tabled(task: Task, length: int, readout: str) -> tuple[float, float]:
    """The accuracy of the table on fresh sequences, and how much higher it is on the sequences of the table."""
    tokens, targets = task.sample(generator(0, f"readouts/{task}/{length}"), 2 * SIZE, length)
    places, key = seen(tokens, task.vocab_size, readout).unique(return_inverse=True)
    table = torch.zeros(len(places), task.num_outputs, dtype=torch.int64)
    table.index_put_((key[:SIZE], targets[:SIZE]), torch.tensor(1), accumulate=True)
    right = table.argmax(1)[key] == targets
    own, fresh = right.double().split(SIZE)
    return fresh.mean().item(), (own.mean() - fresh.mean()).item()


@pytest.mark.slow
@pytest.mark.parametrize("readout", ["mean", "query", "last"])
@pytest.mark.parametrize("task", SMALL, ids=lambda task: f"{task} {task.length[1]}")
def test_the_ceiling_is_what_the_bag_and_the_token_at_the_readout_allow(task: Task, readout: str) -> None:
    for length in {task.length[1], *task.test_lengths} if len(task.test_lengths) < 5 else {task.length[1]}:
        blind, _ = task.ceilings(length, causal=False, readout=readout)
        assert blind is not None
        found, lacks = tabled(task, length, readout)
        error = math.sqrt(max(blind * (1 - blind), 1e-9) / SIZE) + isinstance(task, ModularArithmetic) * 0.004
        assert blind == pytest.approx(found, abs=4 * error + abs(lacks)), length


@pytest.mark.slow
def test_the_last_token_of_a_pattern_is_one_token_less_to_guess_by() -> None:
    task = PositionAwarePatternDataset(length=24)
    blind, _ = task.ceilings(24, readout="last")
    assert blind is not None
    tokens, targets = task.sample(generator(0, "readouts/pattern"), SIZE, 24)
    counts = torch.nn.functional.one_hot(tokens[:, :-1], task.vocab_size).sum(1)
    likely = torch.stack([counts[:, a] * counts[:, b] for a, b in ((5, 8), (3, 9), (7, 4))], dim=1)
    best = likely == likely.amax(1, keepdim=True)
    found = (best.gather(1, targets[:, None])[:, 0] / best.sum(1)).double().mean().item()
    assert blind == pytest.approx(found, abs=4 * math.sqrt(blind * (1 - blind) / SIZE))
    assert task.ceilings(21, readout="last")[0] is None


@pytest.fixture
def task(request: pytest.FixtureRequest, composed: Callable[..., DictConfig]) -> Task:
    return instantiate(composed(f"dataset={request.param}").dataset, _convert_="all")


@pytest.mark.parametrize("task", [name for name in options("dataset") if name != "text"], indirect=True)
def test_skill_of_every_combination_is_of_a_blind_ceiling_or_none(task: Task) -> None:
    """Defaults have the task's own ceilings. If a model without encoding is not blind to order, skill is None."""
    length = min(task.length[1], task.min_length + 7)
    own = task.order_blind_ceiling(length), task.order_aware_ceiling(length)
    assert task.ceilings(length) == own
    for readout in ("mean", "last", "query") if not task.per_token else ("per_token",):
        for causal in (False, True):
            blind, aware = task.ceilings(length, causal=causal, readout=readout)
            assert aware == own[1]
            if causal and readout == "mean":
                assert skill(0.5, blind, aware) is None
            if causal not in task.blind_masks:
                assert skill(0.5, blind, aware) is None
            if blind is not None and aware is not None:
                assert 0 < blind <= aware + 1e-12
        assert skill(0.5, *task.ceilings(length, readout=readout, window=4)) is None


@pytest.mark.parametrize("readout", ["mean", "query", "last"])
def test_an_encoder_without_encoding_sees_what_the_ceilings_take_it_to_see(readout: str) -> None:
    """If all tokens but the last are reordered, the answer changes only under a mask or with a window."""
    tokens = torch.randint(20, (8, 12), generator=generator(0, "reordered"))
    order = torch.cat((torch.randperm(11, generator=generator(1, "reordered")), torch.tensor([11])))
    for causal, window in ((False, None), (True, None), (False, 2)):
        torch.manual_seed(0)
        encoder = Encoder(
            PositionalEncoding(), 20, 3, dim=16, num_heads=2, readout=readout, causal=causal, window=window
        ).double()
        blind = not causal and window is None
        with torch.no_grad():
            change = (encoder(tokens) - encoder(tokens[:, order])).abs().max()
            moved = (encoder(tokens) - encoder(tokens.roll(1, 1))).abs().max()
        assert (change < 1e-12) == blind
        assert (moved < 1e-12) == (blind and readout != "last")


def test_slots_under_a_causal_mask_are_told_apart_by_how_many_came_before() -> None:
    """The bag of the input and the number of a slot determine the sorted output, so slots are not equal."""
    task = SortDataset(length=8, causal=False)
    assert task.ceilings(8)[0] is not None
    assert task.ceilings(8, causal=True)[0] is None
    assert CopyDataset(length=8, causal=True).ceilings(8)[0] is not None
    assert MultiQueryRecall(length=16).ceilings(16, causal=False) == (0.25, 1.0)
