"""YAML mirrors the constructor it targets."""

import ast
import inspect
from collections.abc import Callable, Iterator
from pydoc import locate
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from tests.conftest import CONFIGS, PLAIN, ROOT, by_hydra, options

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
CASES += [("stop", option) for option in options("stop") if option != "none"]


@pytest.mark.parametrize(("group", "option"), CASES)
def test_yaml_mirrors_its_constructor(composed: Callable[..., DictConfig], group: str, option: str) -> None:
    plain = OmegaConf.to_container(composed(f"{group}={option}"), resolve=False)
    found = list(targets(plain))
    assert any(path.startswith(f".{group}") for path, _ in found)
    for path, node in found:
        target: Any = locate(node["_target_"])
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


@pytest.mark.parametrize(
    "place",
    [pytest.param(k, marks=[pytest.mark.slow] * bool(k % 9)) for k in range(max(map(len, map(options, PLAIN))))],
)
def test_hydra_composes_every_option_as_the_tests_do(composed: Callable[..., DictConfig], place: int) -> None:
    """An option of each group at once: the first of each, the second, and so on."""
    chosen = {group: options(group)[place % len(options(group))] for group in PLAIN}
    words = [*(f"{group}={option}" for group, option in chosen.items()), "model.dim=32", "name=x"]
    assert composed(*words) == by_hydra(*words)


@pytest.mark.parametrize(
    ("group", "option"), [*CASES, ("stop", "none"), *(("launcher", option) for option in options("launcher"))]
)
def test_yaml_says_what_it_is(group: str, option: str) -> None:
    first = (CONFIGS / group / f"{option}.yaml").read_text().splitlines()[0]
    assert first.startswith("# ")


@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_experiment_composes(composed: Callable[..., DictConfig], experiment: str) -> None:
    config = composed(f"experiment={experiment}")
    OmegaConf.to_container(config, resolve=False)


def test_no_code_asks_which_encoding_it_holds() -> None:
    names = set(options("encoding")) - {"none"}
    for path in (ROOT / "posenc").rglob("*.py"):
        if path.parent.name == "encodings":
            continue
        strings = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
        assert not names & {text for text in strings if isinstance(text, str)}, path
