"""What a former posenc left goes on: its run folders, its module names, its commands.

The folders in tests/former were written at commit 9ca3bb0, by

    python train.py -m encoding=none,rope dataset=majority dataset.length=8 dataset.test_lengths=[8] model.dim=16 \
        model.num_heads=2 model.num_layers=1 model.dropout=0.1 trainer.max_steps=8 trainer.validate_every=4 \
        data.eval_size=32 data.batch_size=4 threads=1 callbacks=quiet ~logger.tensorboard

and two runs of the same config by a SIGINT in step 6 and by an error in step 6.
"""

import argparse
import inspect
import os
import pkgutil
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import torch

import posenc
from posenc import analysis, report
from posenc.__main__ import SHOWN_BY, main, parser
from posenc.report.numbers.compare import compare
from posenc.runs import former
from posenc.runs.former import COMMANDS, MOVED, before, now
from posenc.trained.load import load
from posenc.training import precision
from tests.conftest import ROOT, Launch
from tests.test_training import result, weights

CONFIG = (
    "dataset=majority", "dataset.length=8", "dataset.test_lengths=[8]", "model.dim=16", "model.num_heads=2",
    "model.num_layers=1", "model.dropout=0.1", "trainer.max_steps=8", "trainer.validate_every=4", "data.eval_size=32",
    "data.batch_size=4", "threads=1", "callbacks=quiet", "~logger.tensorboard",
)  # fmt: skip


@pytest.fixture
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folders, on a machine that computes as theirs did: it had no bfloat16 units."""
    monkeypatch.setattr(precision, "bfloat16_units", lambda: False)
    return Path(shutil.copytree(ROOT / "tests" / "former", tmp_path / "former"))


@pytest.mark.slow
def test_a_finished_sweep_is_skipped_and_a_new_run_joins_its_arm(command: Launch, left: Path) -> None:
    sweep = left / "sweep"
    before = {path: path.read_bytes() for path in sweep.rglob("*") if path.is_file()}
    assert command("-m", "encoding=none,rope", "seed=0,1", *CONFIG, f"hydra.sweep.dir={sweep}") == (0, "")
    assert {path: path.read_bytes() for path in before} == before
    (facet,) = (facet for facet in compare([sweep], None, 0.01).facets if facet.arms)
    assert sorted((item.arm, item.run.seed) for item in facet.members if item.counted) == [
        ("none", 0), ("none", 1), ("rope", 0), ("rope", 1),
    ]  # fmt: skip
    assert sorted(facet.arms) == ["none", "rope"]


def test_a_stopped_run_is_resumed_as_if_it_had_not_been_stopped(command: Launch, left: Path) -> None:
    """To the bit on the machine that made the folders; others round otherwise."""
    folder = left / "interrupted"
    assert result(folder)["steps"] == 6
    assert command("encoding=none", *CONFIG, f"hydra.run.dir={folder}") == (0, "")
    record, whole = result(folder), left / "sweep" / "majority" / "none" / "seed0"
    assert (record["status"], record["steps"]) == ("completed", 8)
    for ours, theirs in zip(weights(folder).values(), weights(whole).values(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_a_failed_run_is_run_again_and_another_config_refused(command: Launch, left: Path) -> None:
    assert result(left / "failed")["status"] == "failed"
    assert command("encoding=rope", *CONFIG, f"hydra.run.dir={left / 'failed'}") == (0, "")
    assert result(left / "failed")["status"] == "completed"
    status, errors = command("encoding=alibi", *CONFIG, f"hydra.run.dir={left / 'interrupted'}")
    assert (status, "already contains a run of another config" in errors) == (2, True)


def test_a_finished_run_is_rebuilt_for_the_analysis(left: Path) -> None:
    run = load(left / "sweep" / "majority" / "rope" / "seed0")
    assert type(run.module).__module__ == "posenc.training.module"
    assert run.result["encoding"] == "rope"


def modules() -> Iterator[str]:
    for found in pkgutil.walk_packages(posenc.__path__, "posenc."):
        if not found.name.endswith("__main__"):
            yield found.name


def test_a_module_is_found_under_its_former_name_and_is_todays() -> None:
    for old, new in MOVED.items():
        if old == "training.make_trainer":
            continue
        module = import_module(f"posenc.{new}")
        spec = module.__spec__
        assert import_module(f"posenc.{old}") is module
        assert module.__spec__ is spec
        assert spec is not None
        assert spec.name == f"posenc.{new}"
    from posenc.analyze.load import load as formerly  # pyright: ignore[reportMissingImports]

    assert formerly is load


def test_former_names_of_classes_are_todays_and_back() -> None:
    names: dict[str, list[str]] = {}
    for module in modules():
        for name, value in vars(import_module(module)).items():
            if isinstance(value, type) and value.__module__ == module and not name.startswith("_"):
                names.setdefault(name, []).append(f"{module}.{name}")
    assert {name: places for name, places in names.items() if len(places) > 1} == {}
    for (path,) in names.values():
        assert now(path) == path
        assert path.startswith(("posenc.positions.positions", "posenc.attention.layer", "posenc.training.trainer")) or (
            now(before(path)) == path
        )
    assert now("torch.nn.Linear") == before("torch.nn.Linear") == "torch.nn.Linear"


def test_the_door_lists_its_commands_and_each_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    commands = set(COMMANDS.values())
    for words in ([], *([command] for command in sorted(commands))):
        with pytest.raises(SystemExit) as stop:
            main([*words, "--help"])
        assert stop.value.code == 0
        said = capsys.readouterr().out
        assert "usage: python -m posenc" in said
        assert words or all(command in said for command in commands)
    assert parser().parse_args(["report", "x"]).command == "report"


def test_each_command_has_a_function_that_takes_its_options() -> None:
    (commands,) = (each.choices for each in parser()._actions if isinstance(each, argparse._SubParsersAction))
    assert {*commands} == {*SHOWN_BY, "train"}
    for name, module in SHOWN_BY.items():
        options = {each.dest for each in commands[name]._actions} - {"help"}
        inspect.signature(import_module(f"posenc.{module}").show).bind(**dict.fromkeys(options))
    for command, write in (("report", report.write), ("analyze", analysis.write)):  # `show` hands the rest on
        options = {each.dest for each in commands[command]._actions} - {"help", "runs"}
        inspect.signature(write).bind("runs", **dict.fromkeys(options))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_former_command_says_what_to_type_and_works(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(former, "run_module", lambda module, run_name: asked.append([module, *sys.argv[1:]]))
    monkeypatch.setattr(sys, "argv", ["x", "a"])
    former.command(f"posenc.{name}")
    assert asked == [["posenc", COMMANDS[name], "a"]]


def test_a_package_of_a_users_own_with_the_name_of_a_former_command_is_not_posencs() -> None:
    find = former.Former().find_spec
    assert [find(f"{name}.__main__") for name in former.COMMANDS] == [None] * len(former.COMMANDS)
    assert find("posenc.benchmark.__main__") is not None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["task_catalog", "report", "catalog"])
def test_python_runs_a_former_command(name: str) -> None:
    """A module that has moved, and a package that was a command."""
    done = subprocess.run(
        [sys.executable, "-m", f"posenc.{name}", "--help"],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"python -m posenc.{name} is now python -m posenc {COMMANDS[name]}\n"
    assert f"usage: python -m posenc {COMMANDS[name]}" in done.stdout
