"""What all tests share: composed configs, and the names that configs/ offers."""

import gc
import sys
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.types import RunMode
from hydra.utils import instantiate
from hypothesis import settings
from omegaconf import DictConfig, OmegaConf, open_dict

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
    settings.register_profile("any machine", deadline=None)  # a slow one fails no test
    settings.load_profile("any machine")
    folder = config.getoption("--config-dir")
    if folder is not None:
        OWN.append(folder.resolve())


def options(group: str) -> list[str]:
    """The options of a config group: the names of its files."""
    return sorted({path.stem for root in (CONFIGS, *OWN) for path in (root / group).glob("*.yaml")})


SAMPLE = {
    "encoding": {"none", "sinusoidal", "learned_absolute", "rope", "alibi", "t5", "shaw", "forgetting"},
    "dataset": {"pattern", "flip_flop", "copy", "sorting", "text"},
}
"""Of tests over all encodings or tasks, those of these belong to the fast part. The mark `every` keeps all in it."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a test over all encodings or tasks, the fast part runs the sample, and an encoding of the user's."""
    rest = {path.stem for group in SAMPLE for path in (CONFIGS / group).glob("*.yaml")}
    rest -= set[str]().union(*SAMPLE.values())
    for item in items:
        values = (
            item.callspec.params.values() if isinstance(item, pytest.Function) and hasattr(item, "callspec") else ()
        )
        alike = rest.intersection(value for value in values if isinstance(value, str))
        if alike and not item.get_closest_marker("every"):
            item.add_marker(pytest.mark.slow)


def search() -> list[str]:
    """Overrides with which Hydra finds the folders in `OWN`."""
    return [f"hydra.searchpath={[f'file://{folder}' for folder in OWN]}"]


def pytest_collection_finish() -> None:
    """What has been imported stays, so that the garbage collector need not look through it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@cache
def by_hydra(*overrides: str) -> DictConfig:
    """The config that Hydra composes; whoever changes it takes a copy."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", overrides=[*overrides, *search()])


PLAIN = ("encoding", "dataset", "positions")
"""Groups whose options are files that stand as they are at the name of the group, unless they have defaults."""


@cache
def plain(group: str, option: str) -> DictConfig | None:
    """The file of an option, if it is one that needs no composing."""
    file = next((file for root in (CONFIGS, *OWN) if (file := root / group / f"{option}.yaml").exists()), None)
    node = None if file is None else OmegaConf.load(file)
    return None if not isinstance(node, DictConfig) or "defaults" in node else node


@cache
def quickly(*overrides: str) -> DictConfig:
    """As `by_hydra`, which test_configs.py holds; one composition serves all values and all plain options."""
    parsed = OverridesParser.create().parse_overrides([*overrides])
    keys = [override.key_or_group for override in parsed]
    options, values, rest = dict[str, DictConfig](), list[Override](), list[str]()
    for override, text in zip(parsed, overrides, strict=True):
        key = override.key_or_group
        group, changes = (CONFIGS / key).is_dir(), override.type == OverrideType.CHANGE and override.package is None
        node = plain(key, str(override.value())) if group and changes and key in PLAIN else None
        if node is not None and "experiment" not in keys:
            options[key] = node
        elif group or not changes or key.startswith("hydra"):
            rest.append(text)
        else:
            values.append(override)
    config = deepcopy(by_hydra(*rest))
    with open_dict(config):
        config.update(options)
    ConfigLoaderImpl._apply_overrides_to_config(values, config)
    return config


@pytest.fixture(scope="session")
def composed() -> Callable[..., DictConfig]:
    """Compose the config that `python train.py OVERRIDES` would run."""
    return lambda *overrides: deepcopy(quickly(*overrides))  # a test may change its own


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
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures of reports are made, but their pictures, which take longer than all else in a report, are empty."""
    module = import_module("posenc.report.write")  # in its package, the name is that of the function
    monkeypatch.setattr(module, "pictures", lambda figure: (b"", '<svg viewBox="0 0 1 1"></svg>'))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], undrawn: None) -> Launch:
    """Run `python train.py ARGUMENTS`; its exit status and what it wrote to stderr.

    Hydra composes a config twice, first to learn whether there is a sweep; only files of experiments and claims say so.
    """
    ask = Hydra.get_mode

    def mode(hydra: Hydra, config_name: str | None, overrides: list[str]) -> RunMode | None:
        if any(word.startswith(("experiment", "claim", "hydra.mode", "hydra/")) for word in overrides):
            return ask(hydra, config_name, overrides)
        return None

    monkeypatch.setattr(Hydra, "get_mode", mode)

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        try:
            launch(train.main, train.CONFIGS)
        except SystemExit as stop:
            return int(stop.code or 0), capfd.readouterr().err
        return 0, capfd.readouterr().err

    return run
