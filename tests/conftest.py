"""What all tests share: composed configs, and the names that configs/ offers."""

import sys
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig

import train
from posenc.catalog.encodings import EncodingEntry, entries
from posenc.jobs.launch import launch

Launch = Callable[..., tuple[int, str]]
ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / "configs"
OWN: list[Path] = []
"""Folders of configs outside of the package, whose encodings are tested too."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option of train.py, so that docs/own_encoding.md has one word for it."""
    parser.addoption("--config-dir", type=Path, help="a folder of configs of your own")


def pytest_configure(config: pytest.Config) -> None:
    """Before test files are read: they list the options of a group when they are imported."""
    folder = config.getoption("--config-dir")
    if folder is not None:
        OWN.append(folder.resolve())


def options(group: str) -> list[str]:
    """The options of a config group: the names of its files."""
    return sorted({path.stem for root in (CONFIGS, *OWN) for path in (root / group).glob("*.yaml")})


def search() -> list[str]:
    """Overrides with which Hydra finds the folders in `OWN`."""
    return [f"hydra.searchpath={[f'file://{folder}' for folder in OWN]}"]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def composed() -> Callable[..., DictConfig]:
    """Compose the config that `python train.py OVERRIDES` would run."""

    @cache
    def once(*overrides: str) -> DictConfig:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            return compose("train", overrides=[*overrides, *search()])

    return lambda *overrides: deepcopy(once(*overrides))  # a test may change its own


@pytest.fixture(scope="session")
def catalogue() -> dict[str, EncodingEntry]:
    """Every encoding as `python -m posenc encodings` builds it, by name; whoever changes one takes a copy."""
    return {entry.name: entry for entry in entries(folder=OWN[0] if OWN else None)}


@pytest.fixture(scope="session")
def build_encoding(composed: Callable[..., DictConfig]) -> Callable[..., Any]:
    """Build `encoding=NAME` as train.py would, with overrides; causal where the encoding is defined only so."""

    def builder(name: str, *overrides: str) -> Any:
        config = composed(f"encoding={name}", *overrides)
        encoding = instantiate(config.encoding, _convert_="all")
        encoding.trained_at(config.dataset.length)
        return encoding

    return builder


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Launch:
    """Run `python train.py ARGUMENTS`; its exit status and what it wrote to stderr."""

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        try:
            launch(train.main, train.CONFIGS)
        except SystemExit as stop:
            return int(stop.code or 0), capfd.readouterr().err
        return 0, capfd.readouterr().err

    return run
