"""The section `answers`: the same sweep by posenc and by a plain loop, in processor time. No time is tested."""

import sys
import time
from collections.abc import Sequence

import pytest
import torch

from posenc.benchmark import answers, plain_loop
from posenc.benchmark.clock import ProcessorClock
from posenc.catalog.page import CONFIGS
from posenc.catalog.tasks import entries
from posenc.checks import ConfigError
from posenc.config.build import build_module
from posenc.config.make import make
from posenc.jobs.launch import launch
from posenc.streams import generator
from tests.conftest import by_hydra
from train import main

TINY = answers.SweepSize(["rope"], ["rel_pattern"], steps=4, seeds=1, eval_size=32)


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> list[Sequence[str]]:
    """Commands run inside this process, which has imported everything; those of train.py are listed."""
    given: list[Sequence[str]] = []

    def command(words: Sequence[str]) -> tuple[float, str]:
        capfd.readouterr()
        began = time.process_time()
        module, *rest = words[1:]
        if module == "posenc":
            given.append(rest[1:])
            monkeypatch.setattr(sys, "argv", ["train.py", *rest[1:]])
            launch(main, CONFIGS)
        else:
            plain_loop.main(*rest)
        return time.process_time() - began, capfd.readouterr().out

    monkeypatch.setattr(answers, "_command", command)
    return given


@pytest.mark.slow
def test_every_contestant_runs_the_cells_that_it_is_asked_for(inside: list[Sequence[str]]) -> None:
    section = answers.answers(TINY)
    plain, own, stopped, verdict = section.rows
    assert [row["runs"] for row in section.rows] == [1, 1, 1, 2]
    assert all(0 < row["training_s"] < row["processor_s"] for row in section.rows)
    assert own["ratio"] == pytest.approx(own["processor_s"] / plain["processor_s"])
    assert stopped["runs_per_hour"] == pytest.approx(3600 / stopped["processor_s"])
    assert "ratio" not in verdict
    assert "one seed" in section.notes[-1]
    assert len(inside) == 3
    assert "rel_pattern" in section.notes[-1]


def test_the_clock_of_training_stands_while_the_process_waits() -> None:
    clock = ProcessorClock()
    began = clock.clock()
    time.sleep(0.05)
    assert clock.clock() - began < 0.04


def test_the_loop_has_the_tasks_of_the_configs() -> None:
    for entry in entries([*plain_loop.TASKS]):
        made = plain_loop.TASKS[entry.name]()
        pairs = zip(*(task.sample(generator(0, "same"), 8, 32) for task in (made, entry.task)), strict=True)
        assert all(torch.equal(ours, theirs) for ours, theirs in pairs)
        assert (made.readout, made.causal) == (entry.task.readout, entry.task.causal)


@pytest.mark.parametrize("encoding", plain_loop.ENCODINGS)
def test_models_of_the_loop_are_of_one_size_and_see_as_far_as_the_task_lets_them(encoding: str) -> None:
    for name, task in plain_loop.TASKS.items():
        model = plain_loop.Model(encoding, task()).eval()
        config = by_hydra(f"encoding={encoding}", f"dataset={name}")
        ours = build_module(config, make(config, "dataset")).encoder
        assert sum(p.numel() for p in model.parameters()) == pytest.approx(
            sum(p.numel() for p in ours.parameters()), rel=0.2
        )
        tokens = torch.randint(20, (2, 32))
        later = tokens.clone()
        later[:, -1] = (later[:, -1] + 1) % 20
        seen = model.body(tokens, return_embeddings=True) - model.body(later, return_embeddings=True)
        assert bool(seen[:, :-1].abs().max() < 1e-6) == task().causal


def test_a_command_is_timed_with_what_it_prints() -> None:
    seconds, said = answers._command(["-c", "import time\nwhile time.process_time() < 0.3: pass\nprint('done')"])
    assert seconds > 0.3
    assert said == "done\n"
    with pytest.raises(ConfigError, match="ended with status 3"):
        answers._command(["-c", "raise SystemExit(3)"])
