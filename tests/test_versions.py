"""What pyproject.toml asks for, what constraints.txt pins and what is installed agree."""

import ast
import re
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, version

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
GROUPS = {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
ASKED = [(group, Requirement(line)) for group, lines in GROUPS.items() for line in lines]
PINNED: dict[str, set[str]] = {}
for line in (ROOT / "constraints.txt").read_text().splitlines():
    if line.strip() and not line.startswith("#"):
        pin = Requirement(line)
        assert re.fullmatch(r"==[\w.]+", str(pin.specifier)), line
        PINNED.setdefault(canonicalize_name(pin.name), set()).add(str(pin.specifier)[2:])


@pytest.mark.parametrize(("group", "asked"), ASKED, ids=str)
def test_each_dependency_has_a_floor_that_pin_and_installation_are_above(group: str, asked: Requirement) -> None:
    """Dependencies and those of the tests must be installed. Of a missing extra only the pin is checked."""
    floors = [part.version for part in asked.specifier if part.operator == ">="]
    assert len(floors) == 1, f"{asked} has no floor"
    pins = sorted(PINNED.get(canonicalize_name(asked.name), ()))
    assert len(pins) == 1, f"{asked.name} is pinned to {pins}"
    assert asked.specifier.contains(pins[0]), f"{asked} is pinned to {pins[0]}"
    try:
        installed = version(asked.name)
    except PackageNotFoundError:
        assert group not in ("", "test")
        return
    assert asked.specifier.contains(installed), f"{asked}: {installed} is installed"


def test_what_is_imported_is_asked_for() -> None:
    """A package that only another dependency requires is not enough, because that dependency may drop it."""
    imported = set[str]()
    for path in (ROOT / "posenc").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.partition(".")[0])
    brought = packages_distributions()
    asked = {canonicalize_name(each.name) for _, each in ASKED}
    known = imported & set(brought) - {"posenc"}
    assert {"torch", "yaml"} <= known
    assert {name for name in known if not {canonicalize_name(each) for each in brought[name]} & asked} == set()


SINCE = {
    ("hydra.utils", "get_object"): Requirement("hydra-core==1.3.2"),
    ("Trainer.fit", "weights_only"): Requirement("lightning==2.6.0"),
}
"""{(module, name) or (method, argument): the first release that has it}, where a lowest version was once too low."""


def used(tree: ast.AST) -> set[tuple[str, str]]:
    """Names imported from modules, and arguments of a trainer's methods."""
    found: set[tuple[str, str]] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found |= {(node.module or "", alias.name) for alias in node.names}
        elif isinstance(node, ast.Call) and re.search(r"trainer\.\w+$", ast.unparse(node.func)):
            method = ast.unparse(node.func).rpartition(".")[2]
            found |= {(f"Trainer.{method}", keyword.arg or "") for keyword in node.keywords}
    return found


def test_nothing_is_used_that_a_floor_lacks() -> None:
    code = [ROOT / "train.py", *(ROOT / "posenc").rglob("*.py")]
    names = set[tuple[str, str]]().union(*(used(ast.parse(path.read_text(encoding="utf-8"))) for path in code))
    assert ("Trainer.fit", "weights_only") in names
    for name in names & SINCE.keys():
        first = SINCE[name]
        floor = next(asked.specifier for group, asked in ASKED if not group and asked.name == first.name)
        (lowest,) = [Version(part.version) for part in floor if part.operator == ">="]
        (needed,) = [Version(part.version) for part in first.specifier]
        assert lowest >= needed, f"{'.'.join(name)} came with {first}; raise the floor {floor}"
