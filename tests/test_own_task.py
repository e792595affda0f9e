"""A task of one's own, written the way docs/own_task.md shows and the way it was written before."""

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Generator, Tensor

from posenc import checks
from posenc.checks import ConfigError
from posenc.config.build import build_module
from posenc.config.make import make
from posenc.tasks.base import Task
from posenc.tasks.parts.transduction import TransductionTask
from tests.conftest import ROOT


class FirstToken(Task):
    """Which token stands first? Written with a constructor of its own."""

    min_length = 2

    def __init__(
        self,
        length: int | list[int] = 8,
        test_lengths: list[int] | None = None,
        vocab_size: int = 5,
        causal: bool = False,
    ) -> None:
        checks.positive(self, minimum=2, vocab_size=vocab_size)
        self.num_outputs = vocab_size
        super().__init__(length=length, test_lengths=test_lengths, vocab_size=vocab_size, causal=causal)

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        tokens = torch.randint(self.vocab_size, (batch, length), generator=generator)
        return tokens, tokens[:, 0]

    def order_aware_ceiling(self, length: int) -> float:
        return 1.0


@dataclass(kw_only=True, eq=False, repr=False)
class FirstTokenNow(Task):
    """The same as a dataclass."""

    length: Any = 8
    vocab_size: int = 5

    determined_by = "sequence"
    min_length = 2

    def __post_init__(self) -> None:
        checks.positive(self, minimum=2, vocab_size=self.vocab_size)
        self.num_outputs = self.vocab_size
        super().__post_init__()

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        tokens = torch.randint(self.vocab_size, (batch, length), generator=generator)
        return tokens, tokens[:, 0]


class Shift(TransductionTask):
    """The input, moved by one place; a constructor of its own on a class of posenc that has none."""

    def __init__(self, length: int = 6, alphabet: int = 3, readout: str = "per_token") -> None:
        self.num_outputs = alphabet
        super().__init__(length=length, test_lengths=None, causal=True, readout=readout)

    def pairs(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        x = torch.randint(self.num_outputs, (batch, length), generator=generator)
        return x, x.roll(1, 1)


both = pytest.mark.parametrize("kind", [FirstToken, FirstTokenNow])


@both
def test_both_ways_of_writing_make_the_same_task(kind: Any) -> None:
    task = kind(length=[4, 6], test_lengths=[9, 6, 9])
    assert (task.length, task.test_lengths, task.longest) == ((4, 6), [6, 9], 9)
    assert (task.vocab_size, task.num_outputs, task.causal, task.readout) == (5, 5, False, "mean")
    assert not task.per_token
    assert task.ceilings(6) == (None, 1.0)
    assert kind().test_lengths == [8, 12, 16, 32, 64]
    tokens, targets = task.sample(Generator().manual_seed(0), 3, 6)
    assert torch.equal(tokens[:, 0], targets)


@both
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 1}, "length must be at least 2, got 1"),
        ({"vocab_size": 1}, "vocab_size must be a whole number ≥ 2, got 1"),
        ({"test_lengths": 9}, r"test_lengths must be a list, got 9; write \[9\]"),
        ({"causal": "no"}, "causal must be true or false, got 'no'"),
    ],
)
def test_both_ways_refuse_the_same(kind: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{kind.__name__}: dataset.{message}"):
        kind(**options)


def test_a_constructor_of_before_stands_on_a_family_of_posenc() -> None:
    task = Shift(alphabet=4)
    assert (task.vocab_size, task.num_outputs, task.per_token, task.needs_causal) == (5, 4, True, True)
    assert task.ceilings(6) == (None, 1.0)


def test_a_task_that_says_nothing_of_its_ceilings_has_none() -> None:
    @dataclass(kw_only=True, eq=False, repr=False)
    class Silent(Task):
        vocab_size: int = field(default=3, init=False)

        num_outputs = 3

    assert Silent().ceilings(8) == (None, None)
    with pytest.raises(TypeError, match="vocab_size"):
        Silent(vocab_size=4)  # pyright: ignore[reportCallIssue]


@both
def test_a_module_and_its_data_are_built_from_either(kind: Any, composed: Any) -> None:
    """A task goes to the data and to the module as it is, although Hydra reads dataclasses as configs."""
    config: DictConfig = composed()
    config.dataset = OmegaConf.create({"_target_": f"{__name__}.{kind.__name__}"})
    config.model.readout, config.model.causal = "mean", False
    task = make(config, "dataset")
    assert type(task) is kind
    module, data = build_module(config, task), make(config, "data", task=task, seed=0)
    assert module.task is data.task is task


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The config of docs/own_task.md, its module one that Python can import."""
    text = (ROOT / "docs" / "own_task.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (config,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "mine.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)  # that of another test
    yield OmegaConf.create(config)
    sys.modules.pop("mine", None)


def test_the_page_shows_a_task_that_works(page: Any, composed: Any) -> None:
    config: DictConfig = composed()
    config.dataset = page
    task = make(config, "dataset")
    tokens, targets = task.sample(Generator().manual_seed(0), 50, 9)
    assert torch.equal(targets, tokens[:, :3].max(1).values)
    assert task.vocab_size == task.num_outputs == 10
    assert task.ceilings(9) == (None, 1.0)
    assert build_module(config, task).task is task
    config.dataset.num_values = 1
    with pytest.raises(ConfigError, match=r"LargestOfFirst: dataset\.num_values must be a whole number ≥ 2, got 1"):
        make(config, "dataset")
