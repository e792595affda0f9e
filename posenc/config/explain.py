"""Rewrites error messages of Hydra and OmegaConf for a user: what is wrong, and what to type."""

import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf

from posenc.checks import nearest
from posenc.config.suggestions import GROUPS, did_you_mean

EXTRAS = {"joblib": "joblib", "submitit_slurm": "slurm", "submitit_local": "slurm", "ray": "ray", "optuna": "search"}
"""The extra in pyproject.toml that installs each Hydra plugin."""
CHOSEN = tuple(group for group in GROUPS if group != "launcher")
"""Groups whose choice decides which keys exist."""


def explain(error: Exception, configs: Path) -> str:
    """The message of an error. For a misspelt option it lists the options that exist."""
    text = str(error).strip()
    if isinstance(error, OverrideParseException):
        return _unread(str(error.override or ""))
    key = re.search(r"Could not override '([^']+)'", text)
    if key is not None:
        return _unknown_key(key.group(1), configs) or text
    plugin = re.search(r"Could not find 'hydra/(\w+)/(\w+)'", text)
    if plugin is not None and plugin.group(2) in EXTRAS:
        extra = EXTRAS[plugin.group(2)]
        return (
            f"{plugin.group(1)} {plugin.group(2)} needs packages that are not installed; "
            f"pip install -c constraints.txt -e '.[{extra}]' brings them."
        )
    several = re.match(r"(?:Ambiguous value for argument|Sweep parameters) '([^']+)'", text)
    if several is not None:
        word = several.group(1)
        group = word.partition("=")[0]
        one = "" if group in GROUPS or not text.startswith("Ambiguous") else f", or write {group}=[...] for one list"
        return f"{word} asks for several runs; add -m{one}."
    there = re.match(r"Could not append to config. An item is already at '([^']+)'", text)
    if there is not None:
        word = next(
            (word for word in sys.argv[1:] if word.startswith(f"+{there.group(1)}=")), f"+{there.group(1)}=VALUE"
        )
        return f"{there.group(1)} has a value already; write {word[1:]}, without +."
    missing = re.search(
        r"Could not find '([\w/]+)/([^']*)'.*?Available options in '[\w/]+':\n((?:\t[^\n]*\n?)*)", text, re.S
    )
    if missing is not None:
        return no_option(missing.group(1), missing.group(2), missing.group(3).split())
    part = re.match(r"In 'encoding/([^']+)': Could not load 'encoding/(\w+)'", text)
    if part is not None:
        options = sorted(path.stem for path in (configs / "encoding").glob("*.yaml"))
        return f"encoding={part.group(1)}: {no_option('encoding', part.group(2), options)}"
    cause = error.__cause__
    if isinstance(error, HydraException) and cause is not None and type(cause).__module__.startswith("omegaconf"):
        text += f" ({str(cause).splitlines()[0]})"
    return one_line(text)


def no_option(group: str, wrong: str, options: Sequence[str]) -> str:
    """A message: the group has no such option, it has these, and this one was probably meant."""
    return f"{group}={wrong} does not exist; the options are {', '.join(options)}.{nearest(wrong.lower(), options)}"


def one_line(text: str) -> str:
    """A message of Hydra or OmegaConf without the parts that only their developers need."""
    where = re.search(r"full_key: (\S+)", text)
    text = re.split(r"\n\s*(?:full_key|object_type|Config search path|See https)\b", text)[0]
    text = " ".join(text.split())
    return text if where is None or where.group(1) in text else f"{where.group(1)}: {text}"


def _unread(word: str) -> str:
    """A message: the word is no override, because it has spaces around `=` or needs quotes."""
    words = [*sys.argv, "", ""]
    after = words[words.index(word) + 1 :] if word in words else []
    if re.fullmatch(r"[\w.]+:?", word) and after[0]:
        value = next((each for each in after if each != "="), "").removeprefix("=")
        return f"{word} cannot be read; write {word.rstrip(':')}={value}, without spaces."
    return (
        f"{word} cannot be read; write it as KEY=VALUE, and a value with brackets, quotes, spaces or "
        "letters beyond a to z as KEY='\"VALUE\"'."
    )


def _unknown_key(key: str, configs: Path) -> str | None:
    """A message for a key that does not exist, with the keys at the same place."""
    chosen = [word for word in sys.argv[1:] if re.fullmatch(rf"({'|'.join(CHOSEN)})=[\w@:+-]+", word)]
    try:
        with initialize_config_dir(str(configs), version_base="1.3"):
            config = compose("train", overrides=chosen, return_hydra_config=key.startswith("hydra."))
            group = key.partition(".")[0]
            several = [word for word in sys.argv[1:] if word.startswith(f"{group}=") and word not in chosen]
            if group in GROUPS and any(_holds(key, [*chosen, one]) for word in several for one in _values(word)):
                return f"{key} does not exist in the base config; write ++{key}= to set it in the whole sweep."
    except HydraException:  # the option is in the user's own folder
        return None
    parent = key.rpartition(".")[0]
    node = OmegaConf.select(config, parent) if parent else config
    if node is None and parent in GROUPS and parent in config:  # the option builds nothing, such as stop=none
        others = ", ".join(sorted(path.stem for path in (configs / parent).glob("*.yaml")))
        return f"{key} does not exist: {parent} as it is chosen has no options; choose one of {others}."
    while parent and node is None:  # the parent does not exist either
        parent = parent.rpartition(".")[0]
        node = OmegaConf.select(config, parent) if parent else config
    if node is None or not OmegaConf.is_dict(node):
        return f"{key} does not exist: {parent} has no options of its own."
    options = [str(name) for name in node if not str(name).startswith("_")]
    has = f"{parent or 'the config'} has {', '.join(options) or 'no options'}"
    if key.startswith("hydra.launcher."):
        has += "; launcher=joblib, slurm or ray brings others"
    return f"{key} does not exist; {has}.{'' if key.startswith('hydra.') else did_you_mean(key, config)}"


def _values(word: str) -> list[str]:
    """For one word of a sweep the words of the single runs; none for a glob."""
    with suppress(HydraException, ValueError):
        override = OverridesParser.create().parse_override(word)
        if override.is_choice_sweep() and not isinstance(override.value(), Glob):
            return [f"{override.key_or_group}={value}" for value in override.sweep_string_iterator()]
    return []


def _holds(key: str, words: list[str]) -> bool:
    """Whether the config of these words has a key."""
    config = compose("train", overrides=words)
    parent, _, last = key.rpartition(".")
    node = OmegaConf.select(config, parent)
    return isinstance(node, DictConfig) and last in node
