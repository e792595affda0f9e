"""Going on from a checkpoint (`ckpt_path=`), and starting with the weights of another run (`start_from=`).

`ckpt_path=` goes on with the same run. The words that started the run are put before the typed words. The config of all
these words must agree with the recorded config in every value that changes a result, except trainer.max_steps.
`start_from=` takes only the weights, begins at step 0, and is recorded.
"""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, read_write

from posenc.checks import ConfigError
from posenc.config.allowed import SAFE, TARGET, under
from posenc.config.effect import key_of
from posenc.runs import reading
from posenc.runs.identity import HOW, NEWER, settings
from posenc.runs.result import CONFIG_FILE, RESULT

OVERRIDES_FILE = Path(".hydra", "overrides.yaml")
"""The file in a run folder with the overrides that started the run."""
MAY_DIFFER = ("trainer.max_steps", "ckpt_path")
"""Keys that may change when a run goes on: it may have more or fewer steps."""
UNREPEATED_KEYS = (*HOW, "name", "ckpt_path")
"""Keys of the record that are not used again. They say where a run is stored and how it is watched."""


def run_folder(checkpoint: str) -> Path | None:
    """The folder of the run that wrote a checkpoint; None if the checkpoint is in no run folder."""
    folder = Path(checkpoint).absolute().parent.parent
    return folder if (folder / CONFIG_FILE).is_file() else None


def with_recorded(words: list[str]) -> list[str]:
    """The words of a command. If they go on from a checkpoint, the words of its run are put before them.

    The record may come from someone else. Its words may choose files of configs/ and set values, but name only classes
    of posenc.
    """
    paths = [word.partition("=")[2] for word in words if re.match(r"\+*ckpt_path=.", word)]
    if len(paths) != 1 or paths[0] == "null" or any(word.startswith("experiment=") for word in words):
        return words
    folder = run_folder(paths[0].strip("'\""))
    if folder is None:
        return words
    typed = {key_of(word) for word in words if "=" in word or word.startswith("~")}
    kept = [word for word in _recorded(folder) if key_of(word) not in typed]
    kept = [word for word in kept if re.split("[./]", key_of(word))[0] not in UNREPEATED_KEYS]
    for word in kept:
        _check_word(word, folder)
    return [*kept, *words]


def _recorded(folder: Path) -> list[str]:
    try:
        if (folder / OVERRIDES_FILE).exists():
            found = reading.read_yaml(folder / OVERRIDES_FILE)
        else:
            found = shlex.split(reading.read_json(folder / RESULT)["command"])[2:]
    except (OSError, ValueError, TypeError, KeyError):
        return []
    return [word for word in found if isinstance(word, str)] if isinstance(found, list) else []


def _check_word(word: str, folder: Path) -> None:
    """Raise ConfigError for a word of a record that could run code or read files which the record's writer chose."""
    try:
        override = OverridesParser.create().parse_override(word)
        value = override.value() if not override.is_delete() else None
    except HydraException as error:
        raise ConfigError(
            f"{folder / OVERRIDES_FILE} contains {word!r:.80}, which is no option; type all options again."
        ) from error
    named = [value] if override.key_or_group.endswith(TARGET) else [*_named(value)]
    harmless = all(isinstance(name, str) and under(name, SAFE) for name in named)
    if not harmless or re.search(r"\$\{[^}]*:", word):
        raise ConfigError(
            f"{folder / OVERRIDES_FILE} contains {word!r:.80}, which may run any code; if the run is yours, type this "
            "option again."
        )


def _named(value: Any) -> Iterator[Any]:
    """The values of `_target_` inside a value."""
    if isinstance(value, Mapping):
        for key, child in value.items():
            if str(key).strip("'\"") == TARGET:
                yield child
            yield from _named(child)
    elif isinstance(value, list):
        for child in value:
            yield from _named(child)


def as_begun(config: DictConfig, folder: Path, typed: Iterable[str]) -> DictConfig:
    """The config of a run in `folder`, with the former behaviour for keys that did not exist when the run began.

    So a run that an earlier version of posenc began goes on as it began, and its result is found when it is finished.

    typed  the words of the command; keys that they set are not changed
    """
    named = config.get("ckpt_path")
    begun = folder if (folder / CONFIG_FILE).is_file() else run_folder(str(named)) if named else None
    if begun is None or config.get("force") is True or not isinstance(config.get("data"), DictConfig):
        return config
    with suppress(ConfigError, TypeError):  # an unreadable record raises an error where it is needed
        theirs, own = record_of(begun), {key_of(word) for word in typed}
        former = [key for key in NEWER if _has(config, key) and not _has(theirs, key) and key not in own]
        config = deepcopy(config)
        with read_write(config):
            for key in former:
                nothing = False if isinstance(OmegaConf.select(config, key), bool) else None
                OmegaConf.update(config, key, nothing)
    return config


def _has(record: Mapping[str, Any], key: str) -> bool:
    group, _, name = key.partition(".")
    return name in record[group]


def check(plain: Mapping[str, Any], own: Path | None = None) -> None:
    """Raise ConfigError unless the checkpoint of `ckpt_path` comes from a run of this resolved config.

    own  the folder of the new run. With `force` the checkpoint must not be in it, because its files are set aside
    """
    path, start = plain["ckpt_path"], plain["start_from"]
    for key, named in (("ckpt_path", path), ("start_from", start)):
        there = None if named is None else run_folder(named)
        if plain["force"] and there is not None and own is not None and there.resolve() == own.resolve():
            raise ConfigError(
                f"force=true moves the content of {there}, which includes {key}={named}; leave force out, or choose "
                "another hydra.run.dir."
            )
    folder = None if path is None else run_folder(path)
    old = {} if folder is None else settings(record_of(folder))
    if path is not None and start is not None and old.get("start_from") != start:
        raise ConfigError("ckpt_path continues a run and start_from begins another; set only one of them.")
    if folder is None:
        return
    new = settings(plain)
    if old.get("dataset._target_") is None:
        return  # no record of posenc; the weights are still checked
    keys = [*new, *(key for key in old if key not in new)]
    keys.sort(key=lambda key: (key != "encoding._target_", key.startswith("encoding.")))  # its options last
    for key in keys:
        if key not in MAY_DIFFER and old.get(key) != new.get(key):
            there = reading.plain_text(old.get(key))
            raise ConfigError(
                f"ckpt_path={path} continues the run that wrote it, but {key} is {there!r} "
                f"there and {new.get(key)!r} here; leave out what sets it, or begin a new run with these weights by "
                f"start_from={path} instead of ckpt_path."
            )


def record_of(folder: Path) -> Any:
    """The recorded config of a run as plain values. Raises ConfigError if it cannot be read."""
    try:
        return OmegaConf.to_container(reading.read_config(folder / CONFIG_FILE))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{folder / CONFIG_FILE} cannot be read ({error}), so the run cannot be continued."
        ) from error
