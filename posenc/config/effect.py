"""Refuses a word of a command that has no effect, so that nothing that a user types is ignored."""

import re
from collections.abc import Callable, Iterable
from typing import Any

from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from posenc.checks import ConfigError
from posenc.config import launching, shape
from posenc.config.suggestions import did_you_mean

KNOWN = {*shape.REQUIRED, *shape.OPTIONAL, *shape.TOP, "stop", "ledger", "claim", "name"}
"""Keys of the config that posenc reads."""
GLOBAL = ("experiment", "profile", "launcher", "recipe")
"""Groups whose files set values of the whole config."""
STUDY_KEYS = ("study", "seed", "threads", "force", "name", "experiment", "profile", "hydra")
"""Keys that every study reads."""
IDLE: tuple[tuple[str, Callable[[DictConfig], bool], str], ...] = (
    (
        "dataset.mask",
        lambda config: OmegaConf.select(config, "dataset.causal") is True,
        "with dataset.causal=true the next byte is asked, and none is masked",
    ),
    (
        "dataset.readout",
        lambda config: "dataset.readout" not in names(_texts([_raw(config, "model.readout")])),
        "model.readout is set by itself, and nothing else follows dataset.readout",
    ),
)
"""(key, condition, reason): under this condition nothing reads the key."""
INTERPOLATED = r"\$\{\s*\.*([\w.]+)\s*\}"
"""A key that an interpolation reads, as a regular expression."""


def check(config: DictConfig, hydra: Any) -> None:
    """Raise ConfigError for a key that nothing reads and for an option without effect.

    config  the composed config, not resolved
    hydra   Hydra's own part of the config
    """
    check_keys(config, hydra)
    launching.check(hydra)
    typed = [key for word in typed_words(hydra) if (key := key_of(word))]
    alone = hydra.mode != RunMode.MULTIRUN
    if alone and "launcher" in typed:
        raise ConfigError(
            f"launcher={hydra.runtime.choices.launcher} starts the runs of a sweep, but this is one run; add -m, or "
            "leave launcher out."
        )
    if "encoding" in typed and hydra.runtime.choices.get("recipe") is not None:
        raise ConfigError(
            f"recipe={hydra.runtime.choices.recipe} includes an encoding; leave "
            f"encoding={hydra.runtime.choices.encoding} out, or recipe."
        )
    profiled = any(str(key).startswith(("experiment/", "claim/")) for key in hydra.runtime.choices)
    if "profile" in typed and not profiled and "profile" not in " ".join(_texts(config)):
        chosen = hydra.runtime.choices.profile
        raise ConfigError(f"profile={chosen} has no effect: {_experiment(hydra)} has no profiles; leave it out.")
    for key, idle, why in IDLE:
        if key in typed and idle(config):
            raise ConfigError(f"{key} has no effect: {why}; leave it out.")
    if OmegaConf.is_dict(config.get("study")):  # shape.check refuses another value
        _check_study(config, hydra, typed)


def check_keys(config: DictConfig, hydra: Any = None) -> None:
    """Raise ConfigError if the config has a key that neither posenc nor an interpolation reads."""
    read = {name.partition(".")[0] for name in names(_texts(config))} | {*names(_texts(hydra))}
    for key in map(str, config):
        if key in KNOWN or key in read or key == "hydra":
            continue
        if key in GLOBAL:
            raise ConfigError(
                f"the file of {key}={hydra.runtime.choices[key] if hydra else '...'} would set {key}.* alone, which "
                "nothing reads; write `# @package _global_` into its first line."
            )
        more, under = key, _raw(config, key)
        while isinstance(under, dict) and len(under) == 1:
            more, under = f"{more}.{next(iter(under))}", next(iter(under.values()))
        raise ConfigError(
            f"{more} is a key that nothing reads; leave it out.{did_you_mean(more, without(config, key))}"
        )


def without(config: DictConfig, key: str) -> DictConfig:
    """A copy of the config without one key."""
    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    return OmegaConf.create({name: child for name, child in plain.items() if name != key})


def typed_words(hydra: Any) -> list[str]:
    """The words of a job as they were typed. An interpolation such as `model.dim=${nowhere}` is not resolved."""
    return launching.words_of(hydra.overrides.task)


def key_of(word: str) -> str:
    """The key of an override such as `++encoding.rms=raw`; the package, if a group has one."""
    key = re.sub("^[+~]+", "", word.partition("=")[0])
    return key.partition("@")[2] or key


def names(texts: Iterable[str]) -> set[str]:
    """The keys that interpolations read."""
    return {name for text in texts for name in re.findall(INTERPOLATED, text)}


def _texts(node: Any) -> list[str]:
    """All strings below a node, not resolved."""
    if OmegaConf.is_config(node):
        node = OmegaConf.to_container(node, resolve=False)
    if isinstance(node, dict):
        return [text for child in node.values() for text in _texts(child)]
    if isinstance(node, list):
        return [text for child in node for text in _texts(child)]
    return [node] if isinstance(node, str) else []


def _experiment(hydra: DictConfig) -> str:
    name = hydra.runtime.choices.get("experiment")
    return f"experiment={name}" if name else "a run without an experiment"


def _check_study(config: DictConfig, hydra: DictConfig, typed: Iterable[str]) -> None:
    read: set[str] = set()
    more = names(_texts(config.study))
    while more - read:
        read |= more
        more = names(text for name in more for text in _texts(OmegaConf.create([_raw(config, name)])))
    for key in typed:
        head = key.partition(".")[0]
        if head in STUDY_KEYS or any(
            name == key or name.startswith(f"{key}.") or key.startswith(f"{name}.") for name in read
        ):
            continue
        reads = ", ".join(["study.*", *STUDY_KEYS[1:-1], *sorted(read)])
        raise ConfigError(f"{_experiment(hydra)} does not read {key}, which would have no effect; it reads {reads}.")


def _raw(config: DictConfig, name: str) -> Any:
    """The value of a key, not resolved."""
    node: Any = OmegaConf.to_container(config, resolve=False)
    for part in name.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node
