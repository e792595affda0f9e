"""What an evaluation changes in the config of a trained run, in the words of train.py, and what it may not change."""

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
from posenc.config import CONFIGS, mixtures  # noqa: F401  registers what Hydra finds mixtures by
from posenc.config.allowed import HYDRAS, under
from posenc.config.effect import KNOWN
from posenc.config.suggestions import GROUPS, did_you_mean
from posenc.runs.identity import settings

CHOSEN = ("dataset", "encoding", "positions")
"""Groups of which an evaluation may take another option."""
READ = (
    *CHOSEN, "model", "data.eval_size", "data.eval_tokens", "data.eval_tokens_per_batch", "data.eval_error",
    "trainer.precision", "trainer.accelerator", "threads",
)  # fmt: skip
"""Keys that a test reads, and all below them ..."""
UNREAD = ("model.dropout", "model.token_rms", "dataset.length")
"""... but these, which matter in training alone."""
LENGTHS = "dataset.test_lengths"


def each_evaluation(words: Sequence[str]) -> list[list[str]]:
    """The words of each evaluation that these ask for: `encoding=rope,rope_yarn` is one of each. Raises ConfigError."""
    for override in _parsed(words):
        _check(override)
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
        (batch,) = BasicSweeper.split_arguments(parser.parse_overrides([*words]), None)
    return [list(each) for each in batch]


def _parsed(words: Iterable[str]) -> list[Override]:
    return OverridesParser.create().parse_overrides([*words])


def _check(override: Override) -> None:
    """Raise ConfigError for what a test does not read."""
    key, word = override.key_or_group, override.input_line
    if override.is_delete():
        raise ConfigError(f"{word} deletes something, and an evaluation changes values; write KEY=VALUE.")
    if key == "dataset.length":
        raise ConfigError(f"{word}: the length of training is that of the run; --lengths says where it is tested.")
    if key in GROUPS and key not in CHOSEN:
        raise ConfigError(f"{word}: an evaluation takes another option of {', '.join(CHOSEN)} alone; leave it out.")
    if under(key, READ) and not under(key, UNREAD):
        return
    if key.partition(".")[0] not in KNOWN | {*GROUPS}:
        composed = OmegaConf.create(dict.fromkeys(READ))
        raise ConfigError(f"{key} is a key that nothing reads; leave it out.{did_you_mean(key, composed)}")
    raise ConfigError(
        f"{key} is read by training alone, and an evaluation trains nothing; leave it out. It may change "
        f"{', '.join(READ)}."
    )


def changed(recorded: DictConfig, words: Sequence[str], lengths: Sequence[int] | None = None) -> DictConfig:
    """The config of a run with what the words of one evaluation change; resolved.

    A choice such as `encoding=rope_yarn` takes its file, from configs/ here too, as in `posenc train`. Options that the
    run has too (`base`, `layout`, `p_ignore`) keep the run's values, unless a word says otherwise. `lengths` are those
    of the test.
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
    """The options that the words choose, by group."""
    return {each.key_or_group: str(each.value()) for each in _parsed(words) if each.key_or_group in CHOSEN}


@cache
def _option(group: str, option: str, own: Path) -> dict[str, Any]:
    """What the file of an option holds, interpolations as they are written; `own` is a folder of the user's configs."""
    beside = [f"hydra.searchpath=['file://{own}']"] if own.is_dir() and own.resolve() != CONFIGS else []
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        found = compose("train", overrides=[f"{group}={option}", *beside])
    return cast(dict[str, Any], OmegaConf.to_container(found[group], resolve=False))


def _keep(node: dict[str, Any], recorded: Mapping[str, Any]) -> None:
    """Give `node` the recorded values of the options that both have; a list, as of layers, names parts of its own."""
    for key in node.keys() & recorded.keys() - {*HYDRAS}:
        if isinstance(node[key], dict) and isinstance(recorded[key], Mapping):
            _keep(node[key], recorded[key])
        elif not isinstance(node[key], dict | list):
            node[key] = recorded[key]


def differences(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, list[Any]]:
    """{key: [of the run, of the evaluation]} of all that differs; null where one of them has no such key."""
    before, after = settings(recorded), settings(now)
    keys = [*before, *(key for key in after if key not in before)]
    return {key: [before.get(key), after.get(key)] for key in keys if before.get(key) != after.get(key)}
