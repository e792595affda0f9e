"""What the README says in code works."""

import re
from pathlib import Path
from typing import Any

import torch

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_library_lines() -> None:
    (lines,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, Any] = {}
    exec(lines, names)
    assert names["y"].shape == (2, 100, 64)
    assert isinstance(names["y"], torch.Tensor)


def test_every_linked_file_exists() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (Path(__file__).parents[1] / target).exists(), target


def test_every_option_is_named() -> None:
    for group in ("encoding", "dataset"):
        for path in (Path(__file__).parents[1] / "configs" / group).glob("*.yaml"):
            assert f"`{path.stem}`" in README, f"{group}={path.stem}"
