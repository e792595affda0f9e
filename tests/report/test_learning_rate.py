"""The learning rate is chosen only by validation on the choosing seed."""

from pathlib import Path

import pytest

from posenc.checks import ConfigError
from posenc.jobs import launch
from posenc.report.numbers.learning_rate import best_rate
from posenc.report.reading import ledger
from tests.commands import TRAIN, forked
from tests.report.conftest import Make
from tests.report.test_ledger import identified


def book(run: Make, root: Path, runs: dict[float, dict[str, object]], seed: int = 100) -> Path:
    """A ledger of one encoding at these learning rates."""
    for rate, result in runs.items():
        folder = run("rope", seed, 0.5, sweep=f"sweep{seed}", name=f"{rate}", config={"optimizer.lr": rate})
        identified(folder, **result)
    path = root / "runs.csv"
    ledger.add(path, [root / f"sweep{seed}"])
    return path


@pytest.mark.parametrize(
    ("runs", "best"),
    [
        ({1e-3: {"stopped": 900}, 3e-3: {"stopped": 400}, 1e-2: {"stopped": None}}, 3e-3),
        ({1e-3: {"stopped": 900}, 1e-2: {"stopped": None, "validation": {"best_loss": 0.0}}}, 1e-3),
        ({1e-3: {"validation": {"best_loss": 0.2}}, 3e-3: {"validation": {"best_loss": 0.3}}}, 1e-3),
        ({1e-3: {"validation": {"best_loss": 0.2}}, 1e-2: {"status": "diverged"}}, 1e-3),
        ({1e-3: {"stopped": 400}, 3e-3: {"stopped": 400}, 1e-2: {"stopped": 400}}, 3e-3),
    ],
)
def test_the_rate_that_was_done_first_is_chosen(
    run: Make, root: Path, runs: dict[float, dict[str, object]], best: float
) -> None:
    assert best_rate(book(run, root, runs), "pattern", "rope", 100) == best


def test_other_seeds_choose_nothing(run: Make, root: Path) -> None:
    path = book(run, root, {1e-2: {"stopped": 100}}, seed=0)
    with pytest.raises(ConfigError, match="has no run of rope on pattern with seed 100"):
        best_rate(path, "pattern", "rope", 100)
    book(run, root, {1e-3: {"stopped": 900}})
    assert best_rate(path, "pattern", "rope", 100) == 1e-3


@pytest.mark.slow
def test_a_sweep_without_its_rates_says_what_to_run(tmp_path: Path) -> None:
    words = ("-m", "experiment=answers", "dataset=rel_pattern", "encoding=rope", "seed=0")
    done = forked(TRAIN, *words, f"ledger={tmp_path / 'runs.csv'}", f"hydra.sweep.dir={tmp_path / 'sweep'}")
    assert done.returncode == 2
    assert f"error: the ledger {tmp_path / 'runs.csv'} cannot be read" in done.stderr


def test_a_rate_without_a_ledger_names_both_ways_out() -> None:
    with pytest.raises(ConfigError, match=r"write ledger=docs/answers/runs.csv, or optimizer.lr=3e-3"):
        launch.best_rate(None, "pattern", "rope", 100)
