"""What the README says in code works."""

import importlib.util
import re
import shlex
from collections.abc import Callable
from typing import Any

import torch

from posenc.__main__ import parser
from tests.conftest import ROOT, options

README = (ROOT / "README.md").read_text()
CHOICES = (ROOT / "docs" / "choices.md").read_text()


def test_library_lines() -> None:
    (lines,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, Any] = {}
    exec(lines, names)
    assert names["y"].shape == (2, 100, 64)
    assert isinstance(names["y"], torch.Tensor)


def test_every_command_makes_a_config(composed: Callable[..., Any]) -> None:
    """In a shell where the environment is active, which the README says before the first of them."""
    assert README.index("source .venv/bin/activate") < README.index("\npython train.py")
    commands = re.findall(r"^python train\.py(.*?)(?:#.*)?$", README + CHOICES, re.MULTILINE)
    assert len(commands) > 10
    for command in commands:
        words = [word for word in shlex.split(command) if "=" in word and "<" not in word]
        assert composed(*(re.sub(r"=([\w.]+),.*", r"=\1", word) for word in words)).dataset, command
    for module in re.findall(r"python -m ([\w.]+)", README):
        assert importlib.util.find_spec(module), module


def test_every_command_of_the_docs_is_understood() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    lines = [line for page in pages for line in re.findall(r"^python -m posenc (.*)$", page.read_text(), re.MULTILINE)]
    every = [shlex.split(line, comments=True) for line in lines]
    asked = [words for words in every if words[0] != "train" and "--help" not in words]
    assert len(asked) > 30
    for words in asked:
        end = next((at for at, word in enumerate(words) if word in (">", "|", "&&")), len(words))
        assert parser().parse_args(words[:end]), words


def test_every_linked_file_exists() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_task_and_every_documented_encoding_is_named() -> None:
    documented = re.findall(r"^## (\w+)$", (ROOT / "docs" / "encodings.md").read_text(), re.MULTILINE)
    for name in (*documented, *options("dataset"), *options("positions")):
        assert f"`{name}`" in CHOICES, name


def test_the_counts_are_those_of_the_configs() -> None:
    assert f"**{len(options('encoding'))} encodings**" in README
    assert f"**{len(options('recipe'))} recipes**" in README
    assert f"**{len(options('dataset'))} tasks**" in README
    studies = [path for path in (ROOT / "docs" / "studies").glob("*.md") if path.name != "README.md"]
    assert f"**{len(studies)} studies**" in README


def test_it_is_short_and_its_code_is_not_wider_than_a_page_shows() -> None:
    assert len(README) <= 8000
    for block in re.findall(r"^```\w*\n(.*?)^```", README, re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            assert len(line) <= 88, line
