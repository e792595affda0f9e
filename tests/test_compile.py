"""trainer.compile: the encoder is compiled, its weights keep their names, and what cannot work is said at once."""

from pathlib import Path

import pytest
import torch

from posenc.benchmark.compiled import compiled
from posenc.checks import ConfigError
from posenc.model.compiled import backend_of
from tests.conftest import Launch
from tests.test_identity import S
from tests.test_training import result, weights


@pytest.mark.slow
def test_a_compiled_run_is_the_run_up_to_rounding(command: Launch, tmp_path: Path) -> None:
    """The backend `aot_eager` traces, and generates no code."""
    words = (*S, "encoding=rope", "dataset.test_lengths=[8,12]")
    assert command(*words, f"hydra.run.dir={tmp_path / 'plain'}") == (0, "")
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    assert command(*words, "trainer.compile=aot_eager", f"hydra.run.dir={tmp_path / 'compiled'}") == (0, "")
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 1
    assert not torch._dynamo.utils.counters["graph_break"]
    plain, other = (weights(tmp_path / name) for name in ("plain", "compiled"))
    assert plain.keys() == other.keys()
    for name in plain:
        torch.testing.assert_close(plain[name], other[name], atol=1e-4, rtol=1e-3)
    hashes = {result(tmp_path / name)["config_hash"] for name in ("plain", "compiled")}
    assert len(hashes) == 2


def test_what_cannot_be_compiled_is_refused(command: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, errors = command(*S, "trainer.compile=inductr", f"hydra.run.dir={tmp_path / 'a'}")
    assert status == 2
    assert "Did you mean inductor?" in errors
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError, match="needs a C\\+\\+ compiler, but this machine has none; install g\\+\\+"):
        backend_of(True)
    assert backend_of("aot_eager") == "aot_eager"
    assert backend_of(False) is backend_of(None) is None


@pytest.mark.slow
def test_the_benchmark_counts_graphs() -> None:
    """It counts them for every named encoding, and times nothing if no code is generated."""
    section = compiled(["rope", "shaw"], [(2, 8)], 2, "aot_eager")
    assert [row["contestant"] for row in section.rows] == ["rope", "shaw"]
    assert all(row["graphs"] == 1 and row["graph_breaks"] == 0 and "ratio" not in row for row in section.rows)
    assert not section.notes
