"""What the README says in code works."""

import re
from typing import Any

import torch

from tests.conftest import ROOT, options

README = (ROOT / "README.md").read_text()


def test_library_lines() -> None:
    (lines,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, Any] = {}
    exec(lines, names)
    assert names["y"].shape == (2, 100, 64)
    assert isinstance(names["y"], torch.Tensor)


def test_every_linked_file_exists() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_task_and_every_documented_encoding_is_named() -> None:
    documented = re.findall(r"^## (\w+)$", (ROOT / "docs" / "encodings.md").read_text(), re.MULTILINE)
    for name in (*documented, *options("dataset"), *options("positions")):
        assert f"`{name}`" in README, name
