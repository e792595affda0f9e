"""YAML mirrors the constructor it targets, and the package imports downwards only."""

import ast
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from tests.conftest import CONFIGS, ROOT, options

GROUPS = ("encoding", "positions", "dataset", "model", "trainer", "callbacks", "logger")
BUILT_IN_CODE = {
    "posenc.model.encoder.Encoder": {"encoding", "vocab_size", "num_outputs"},
    "posenc.training.data.SequenceData": {"task", "seed"},
    "posenc.training.module.SequenceModule": {"encoder", "positions", "task", "optimizer", "seed"},
    "posenc.training.trainer.make_trainer": {"folder", "callbacks", "logger", "stop", "environment"},
    "torch.optim.AdamW": {"params"},
}
"""Arguments that posenc.config.build passes as objects."""


def targets(node: Any, path: str = "") -> Iterator[tuple[str, dict]]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield path, node
        for key, value in node.items():
            yield from targets(value, f"{path}.{key}")


CASES = [(group, option) for group in GROUPS for option in options(group)]


@pytest.mark.parametrize(("group", "option"), CASES)
def test_yaml_mirrors_its_constructor(composed: Callable[..., DictConfig], group: str, option: str) -> None:
    plain = OmegaConf.to_container(composed(f"{group}={option}"), resolve=False)
    found = list(targets(plain))
    assert any(path.startswith(f".{group}") for path, _ in found)
    for path, node in found:
        target = get_object(node["_target_"])
        parameters = inspect.signature(target).parameters
        keys = {key for key in node if not str(key).startswith("_")}
        ours = node["_target_"].startswith("posenc.")
        if ours:
            kinds = {p.kind for p in parameters.values()}
            assert not kinds & {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}, path
        assert keys <= set(parameters) or not ours, (path, keys - set(parameters))
        required = {name for name, p in parameters.items() if p.default is p.empty and p.kind != p.VAR_KEYWORD}
        missing = required - keys - BUILT_IN_CODE.get(node["_target_"], set())
        assert not missing, (path, missing)
        assert node["_target_"] != "functools.partial", "use _partial_: true"


@pytest.mark.parametrize(("group", "option"), [*CASES, *(("launcher", option) for option in options("launcher"))])
def test_yaml_says_what_it_is(group: str, option: str) -> None:
    first = (CONFIGS / group / f"{option}.yaml").read_text().splitlines()[0]
    assert first.startswith("# ")


@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_experiment_composes(composed: Callable[..., DictConfig], experiment: str) -> None:
    config = composed(f"experiment={experiment}")
    OmegaConf.to_container(config, resolve=False)


FLOORS = {
    "checks": 0, "files": 0, "length_generalization": 0, "output": 0, "slurm": 0, "streams": 0, "suggestions": 0,
    "tables": 0, "trackio_logger": 0, "unpickle": 0,
    "blocks": 1, "corpus": 1, "explain": 1, "launching": 1, "mask": 1, "measurements": 1, "positions": 1, "records": 1,
    "runs": 1, "shares": 1, "statistics": 1, "stop": 1, "targets": 1, "typed": 1,
    "bias": 2, "composition": 2, "identity": 2, "journal": 2, "locks": 2, "logs": 2, "schemes": 2, "sealed": 2,
    "tasks": 2, "verdicts": 2,
    "by_pairs": 3, "by_query": 3, "claims": 3, "effect": 3, "flex": 3, "fused": 3,
    "attention": 4, "going_on": 4,
    "cli": 5, "data": 5, "encodings": 5, "faults": 5, "narrow": 5, "ranks": 5, "scores": 5,
    "checkpoints": 6, "encoder": 6, "portrait": 6, "report": 6,
    "diagnostics": 7, "figures": 7, "module": 7, "precision": 7,
    "callbacks": 8, "memory": 8, "summary": 8, "training": 8,
    "build": 9, "sweep": 9,
    "analyze": 10, "catalog": 10, "run": 10, "studies": 10, "task_catalog": 10,
    "benchmark": 11, "follow": 11, "job": 11,
}  # fmt: skip


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("posenc"):
            names = [node.module] if "." in node.module else [f"posenc.{alias.name}" for alias in node.names]
            yield from (name.split(".")[1] for name in names)


@pytest.mark.parametrize("path", sorted((ROOT / "posenc").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_downwards(path: Path) -> None:
    part = path.relative_to(ROOT / "posenc").parts[0].removesuffix(".py")
    if part == "__init__":
        return
    for imported in imports(path):
        assert imported == part or FLOORS[imported] < FLOORS[part], f"{part} must not import {imported}"


def test_no_code_asks_which_encoding_it_holds() -> None:
    names = set(options("encoding")) - {"none"}
    for path in (ROOT / "posenc").rglob("*.py"):
        if path.parent.name == "encodings":
            continue
        strings = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
        assert not names & {text for text in strings if isinstance(text, str)}, path
