"""Applies the overrides of an evaluation to the config of a finished run, and refuses those that a test cannot use."""

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict

from posenc.checks import ConfigError
from posenc.config import CONFIGS, mixtures  # noqa: F401  registers mixtures in Hydra
from posenc.config.allowed import HYDRAS, under
from posenc.config.effect import KNOWN
from posenc.config.suggestions import GROUPS, did_you_mean
from posenc.runs.identity import settings

CHOSEN = ("dataset", "encoding", "positions")
"""The groups in which an evaluation may choose another option."""
READ = (
    *CHOSEN, "model", "data.eval_size", "data.eval_tokens", "data.eval_tokens_per_batch", "data.eval_error",
    "trainer.precision", "trainer.accelerator", "threads",
)  # fmt: skip
"""The keys that an evaluation may change, with all keys below them, except `UNREAD`."""
UNREAD = ("model.dropout", "model.token_rms", "dataset.length")
"""Keys below `READ` that only training reads."""
LENGTHS = "dataset.test_lengths"


def each_evaluation(words: Sequence[str]) -> list[list[str]]:
    """The overrides of each evaluation: `encoding=rope,rope_yarn` gives two. Raises ConfigError."""
    for override in _parsed(words):
        _check(override)
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
        (batch,) = BasicSweeper.split_arguments(parser.parse_overrides([*words]), None)
    return [list(each) for each in batch]


def _parsed(words: Iterable[str]) -> list[Override]:
    return OverridesParser.create().parse_overrides([*words])


def _check(override: Override) -> None:
    """Raise ConfigError for an override that a test does not read."""
    key, word = override.key_or_group, override.input_line
    if override.is_delete():
        raise ConfigError(f"{word} deletes a key, but an evaluation can only change values; write KEY=VALUE.")
    if key == "dataset.length":
        raise ConfigError(f"{word}: an evaluation cannot change the trained length; set test lengths with --lengths.")
    if key in GROUPS and key not in CHOSEN:
        raise ConfigError(f"{word}: an evaluation can choose another option only of {', '.join(CHOSEN)}; leave it out.")
    if under(key, READ) and not under(key, UNREAD):
        return
    if key.partition(".")[0] not in KNOWN | {*GROUPS}:
        composed = OmegaConf.create(dict.fromkeys(READ))
        raise ConfigError(f"{key} is a key that nothing reads; leave it out.{did_you_mean(key, composed)}")
    raise ConfigError(
        f"{key} is read by training alone, and an evaluation trains nothing; leave it out. An evaluation may change "
        f"{', '.join(READ)}."
    )


def changed(recorded: DictConfig, words: Sequence[str], lengths: Sequence[int] | None = None) -> DictConfig:
    """The resolved config of a run after the overrides `words` of one evaluation.

    A choice such as `encoding=rope_yarn` loads the option's file; ./configs is searched too. Options that the run also
    has (such as `base`, `layout`, `p_ignore`) keep the run's values, unless `words` set them.

    lengths  the test lengths; None: those of the run
    """
    config = deepcopy(recorded)
    parsed = _parsed(words)
    with open_dict(config):
        for override in (each for each in parsed if each.key_or_group in CHOSEN):
            group = override.key_or_group
            node = deepcopy(_option(group, str(override.value()), Path.cwd() / "configs"))
            _keep(node, cast(dict[str, Any], OmegaConf.to_container(recorded[group])))
            config[group] = node
        for override in (each for each in parsed if each.key_or_group not in CHOSEN):
            OmegaConf.update(config, override.key_or_group, override.value(), force_add=True)
        if lengths is not None:
            OmegaConf.update(config, LENGTHS, [*lengths])
    return cast(DictConfig, OmegaConf.create(OmegaConf.to_container(config, resolve=True)))


def choices(words: Sequence[str]) -> dict[str, str]:
    """{group: option} that the overrides choose."""
    return {each.key_or_group: str(each.value()) for each in _parsed(words) if each.key_or_group in CHOSEN}


@cache
def _option(group: str, option: str, own: Path) -> dict[str, Any]:
    """The content of an option's file, with unresolved interpolations; `own` is the user's config folder."""
    beside = [f"hydra.searchpath=['file://{own}']"] if own.is_dir() and own.resolve() != CONFIGS else []
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        found = compose("train", overrides=[f"{group}={option}", *beside])
    return cast(dict[str, Any], OmegaConf.to_container(found[group], resolve=False))


def _keep(node: dict[str, Any], recorded: Mapping[str, Any]) -> None:
    """Give `node` the recorded values of the keys that both have. Lists stay, because they name the parts of `node`."""
    for key in node.keys() & recorded.keys() - {*HYDRAS}:
        if isinstance(node[key], dict) and isinstance(recorded[key], Mapping):
            _keep(node[key], recorded[key])
        elif not isinstance(node[key], dict | list):
            node[key] = recorded[key]


def differences(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, list[Any]]:
    """{key: [value in the run, value in the evaluation]} of all keys that differ; None if one has no such key."""
    before, after = settings(recorded), settings(now)
    keys = [*before, *(key for key in after if key not in before)]
    return {key: [before.get(key), after.get(key)] for key in keys if before.get(key) != after.get(key)}
