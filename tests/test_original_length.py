"""The trained length is counted in tokens, with that of the read-out, also if a task counts its length in items."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from posenc.checks import ConfigError
from posenc.config.build import build_module
from posenc.config.make import make
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.rope import RotaryPositionalEncoding
from posenc.encodings.rope_scaling import DynamicNTKRotaryPositionalEncoding
from posenc.model.encoder import Encoder
from posenc.positions.positions import Positions
from posenc.positions.schemes import (
    OriginalLength,
    PositionScheme,
    RandomizedPositions,
    ScaledPositions,
    ShiftedPositions,
    WithinNumber,
)
from posenc.tasks.addition import ReversedAdditionDataset
from posenc.tasks.base import Task
from posenc.training.module import SequenceModule
from tests.conftest import options

Composed = Callable[..., DictConfig]
TASKS = [name for name in options("dataset") if name != "text"]  # reads files; a byte is an item there


def module_of(task: Task, encoding: PositionalEncoding, scheme: PositionScheme, readout: str) -> SequenceModule:
    torch.manual_seed(0)
    encoder = Encoder(
        encoding,
        task.vocab_size,
        task.num_outputs,
        dim=16,
        num_heads=2,
        num_layers=1,
        readout=readout,
        causal=task.causal,
    )
    return SequenceModule(encoder, scheme, task, torch.optim.AdamW, seed=0).eval()


@pytest.mark.parametrize("dataset", TASKS)
def test_nothing_is_stretched_inside_training(composed: Composed, dataset: str) -> None:
    """Up to the longest training sequence, dynamic NTK is bit-equal to RoPE, and scaled positions are contiguous."""
    task: Task = make(composed(f"dataset={dataset}", "dataset.test_lengths=[32]"), "dataset")
    tokens, _ = task.sample(torch.Generator().manual_seed(0), 3, task.length[1])
    for readout in ("per_token",) if task.readout == "per_token" else ("mean", "query"):
        plain = module_of(task, RotaryPositionalEncoding(16, 2), PositionScheme(), readout)
        dynamic = module_of(task, DynamicNTKRotaryPositionalEncoding(16, 2), PositionScheme(), readout)
        scaled = module_of(task, RotaryPositionalEncoding(16, 2), ScaledPositions(), readout)
        expected = plain(tokens)
        assert torch.equal(dynamic(tokens), expected)
        assert torch.equal(scaled(tokens), expected)
        assert dynamic.trained_tokens == tokens.shape[1] + (readout == "query")


@pytest.mark.parametrize("name", ["rope_dynamic_ntk", "rope_yarn", "rope_llama3"])
@pytest.mark.parametrize("readout", ["mean", "query"])
def test_what_is_stretched_has_the_trained_length_in_tokens(composed: Composed, name: str, readout: str) -> None:
    """The default is the trained length in tokens, with the query token; 8 items of this task are 7 tokens."""
    few = ("dataset=modular_arithmetic", "dataset.length=8", "dataset.test_lengths=[8]", f"encoding={name}")
    tokens, outputs = torch.randint(5, (2, 40)), []
    for more in ((), (f"encoding.original_length={7 + (readout == 'query')}",)):
        config = composed(*few, f"model.readout={readout}", *more)
        outputs.append(build_module(config, make(config, "dataset"))(tokens))
    assert torch.equal(*outputs)


@pytest.mark.parametrize(
    "scheme",
    [PositionScheme(), RandomizedPositions(), ShiftedPositions(), ScaledPositions(), WithinNumber(range(10))],
    ids=lambda scheme: type(scheme).__name__,
)
def test_no_scheme_leaves_the_reach_that_it_promises(scheme: PositionScheme) -> None:
    """Positions stay below `reach`, so no scheme makes dynamic NTK change its base in training."""
    task = ReversedAdditionDataset(length=8, test_lengths=[8])
    plain = module_of(task, RotaryPositionalEncoding(16, 2), scheme, "per_token")
    dynamic = module_of(task, DynamicNTKRotaryPositionalEncoding(16, 2), scheme, "per_token")
    for seed in range(3):
        tokens, _ = task.sample(torch.Generator().manual_seed(seed), 4, 8)
        positions = plain.train().place(tokens)
        assert torch.equal(plain.encoder(tokens, positions), dynamic.encoder(tokens, positions))
        assert positions.ids.max() < scheme.reach(tokens.shape[1])


def test_the_stretch_follows_the_positions_that_are_there() -> None:
    """A span that is larger than the positions stretches nothing, and no sequence of a batch changes another."""
    encoding = DynamicNTKRotaryPositionalEncoding(16, 2, original_length=16)
    tokens = torch.zeros(2, 16, dtype=torch.long)
    at_test = ShiftedPositions(100)(tokens, training=False)
    assert at_test.span == 116
    assert encoding.stretch(at_test).tolist() == [1.0]
    both = Positions(torch.stack((torch.arange(16), torch.arange(16) * 4)), span=64)
    assert encoding.stretch(both).flatten().tolist() == [1.0, 61 / 16]
    q = torch.randn(2, 2, 16, 8)
    together = encoding.rotate(q, q, q, both)
    alone = [
        encoding.rotate(q[i : i + 1], q[i : i + 1], q[i : i + 1], Positions(both.ids[i : i + 1], 64)) for i in (0, 1)
    ]
    for part, pieces in zip(together, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(part, torch.cat(pieces))


@pytest.mark.parametrize(("scheme", "reach"), [(PositionScheme(), 20), (RandomizedPositions(64), 64)])
def test_a_length_is_taken_once(scheme: PositionScheme, reach: int) -> None:
    encoding: Any = DynamicNTKRotaryPositionalEncoding(16, 2)
    with pytest.raises(ConfigError, match="the trained length is unknown; give original_length"):
        encoding.rates(Positions.arange(4), torch.float32)
    encoding.trained_at(scheme.reach(20))
    assert encoding.trained == encoding.original_length == reach
    encoding.trained_at(99)
    assert encoding.trained == reach
    assert ScaledPositions([4, 12]).trained == 12
    assert isinstance(encoding, OriginalLength)
