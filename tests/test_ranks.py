"""Two processes that train one model are one process, up to rounding."""

from pathlib import Path

import pytest
import torch

from posenc.checks import ConfigError
from posenc.training.data import Shares, share
from tests.conftest import Launch
from tests.test_sweeps import rows
from tests.test_training import SMALL, result, weights


def test_shares_make_the_batch() -> None:
    batch = torch.arange(21).reshape(7, 3), torch.arange(7)
    parts = [share(batch, rank, 3) for rank in range(3)]
    assert sorted(torch.cat([targets for _, targets in parts]).tolist()) == list(range(7))
    assert all(torch.equal(tokens[:, 0], targets * 3) for tokens, targets in parts)
    assert [len(targets) for _, (_, targets) in zip(range(2), Shares([batch, batch], 0, 2), strict=True)] == [4, 4]
    with pytest.raises(ConfigError, match="7 sequences cannot be divided among 8 processes"):
        share(batch, 0, 8)


def test_two_processes_in_a_sweep_are_as_one(command: Launch, tmp_path: Path) -> None:
    """Same losses and scores, also where sequences ask differently often; one folder a run and one result."""
    more = ("-m", "dataset=pattern,flip_flop", "encoding=rope", "model.causal=true", *SMALL, "trainer.log_every=1")
    more += ("data.eval_size=65", "threads=1", "trainer.precision=32-true")  # halves of a batch round differently
    one, two = tmp_path / "one", tmp_path / "two"
    assert command(*more, f"hydra.sweep.dir={one}") == (0, "")
    assert command(*more, "trainer=ddp", "trainer.accelerator=cpu", f"hydra.sweep.dir={two}") == (0, "")
    folders = {path.parent.relative_to(two) for path in two.rglob("result.json")}
    assert folders == {path.parent.relative_to(one) for path in one.rglob("result.json")}
    for name in folders:
        a, b = result(one / name), result(two / name)
        assert a["config_hash"] == b["config_hash"]
        assert (a["processes"], b["processes"]) == (1, 2)
        for before, after in zip(rows(one / name), rows(two / name), strict=True):
            assert before.keys() == after.keys()
            for key, value in before.items():
                assert (value == after[key] == "") or float(value) == pytest.approx(float(after[key]), abs=1e-4), key
        assert a["test"].keys() == b["test"].keys()
        for x, y in zip(weights(one / name).values(), weights(two / name).values(), strict=True):
            assert torch.allclose(x, y, atol=1e-5)
    assert len([*two.rglob("metrics.csv")]) == len([*two.rglob("config.yaml")]) == 2
    assert not list(two.rglob("rank*.log"))
