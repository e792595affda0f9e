"""What pyproject.toml asks for, what constraints.txt pins and what is installed agree."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, version

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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
    """An extra that is not installed is held against its pin alone; the dependencies and the tests' are installed."""
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
