"""Going on from a checkpoint, and starting from the weights of another run: which run wrote the file.

`ckpt_path=` goes on with the same run. The words that the run was started with stand before those that are typed, and
the config that comes of them must be the recorded one in all that changes a result, but for trainer.max_steps.
`start_from=` takes the weights alone, begins at step 0, and is recorded.
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
from posenc.runs.result import RESULT

OVERRIDES_FILE = Path(".hydra", "overrides.yaml")
"""In a run folder: the overrides that the run was started with."""
CONFIG_FILE = Path(".hydra", "config.yaml")
MAY_DIFFER = ("trainer.max_steps", "ckpt_path")
"""What a run may go on with: more steps, or fewer."""
UNREPEATED_KEYS = (*HOW, "name", "ckpt_path")
"""Keys of the record that are not typed again: where a run lies and how it is watched."""


def run_folder(checkpoint: str) -> Path | None:
    """The folder of the run that wrote a checkpoint, or None where it lies in none."""
    folder = Path(checkpoint).absolute().parent.parent
    return folder if (folder / CONFIG_FILE).is_file() else None


def with_recorded(words: list[str]) -> list[str]:
    """The words of a command; where they go on from a checkpoint, those of its run before them.

    A word of the record is data: it may choose files of configs/ and set values, but name only classes of posenc's.
    """
    paths = [word.partition("=")[2] for word in words if re.match(r"\+*ckpt_path=.", word)]
    if len(paths) != 1 or paths[0] == "null" or any(word.startswith("experiment=") for word in words):
        return words
    folder = run_folder(paths[0].strip("'\""))
    if folder is None:
        return words
    typed = {key_of(word) for word in words if "=" in word or word.startswith("~")}
    recorded = [word for word in _recorded(folder) if key_of(word) not in typed and _head(word) not in UNREPEATED_KEYS]
    for word in recorded:
        _check_word(word, folder)
    return [*recorded, *words]


def _recorded(folder: Path) -> list[str]:
    try:
        if (folder / OVERRIDES_FILE).exists():
            found = reading.read_yaml(folder / OVERRIDES_FILE)
        else:
            found = shlex.split(reading.read_json(folder / RESULT)["command"])[2:]
    except (OSError, ValueError, TypeError, KeyError):
        return []
    return [word for word in found if isinstance(word, str)] if isinstance(found, list) else []


def _head(word: str) -> str:
    return re.split("[./]", key_of(word))[0]


def _check_word(word: str, folder: Path) -> None:
    """Refuse a word of a record that could run or read what its writer chose."""
    try:
        override = OverridesParser.create().parse_override(word)
        value = override.value() if not override.is_delete() else None
    except HydraException as error:
        raise ConfigError(
            f"{folder / OVERRIDES_FILE} holds {word!r:.80}, which is no option; type all options again."
        ) from error
    named = [value] if override.key_or_group.endswith(TARGET) else [*_named(value)]
    harmless = all(isinstance(name, str) and under(name, SAFE) for name in named)
    if not harmless or re.search(r"\$\{[^}]*:", word):
        raise ConfigError(
            f"{folder / OVERRIDES_FILE} holds {word!r:.80}, which may run any code; if the run is yours, type this "
            "option again."
        )


def _named(value: Any) -> Iterator[Any]:
    """The targets inside of a value."""
    if isinstance(value, Mapping):
        for key, child in value.items():
            if str(key).strip("'\"") == TARGET:
                yield child
            yield from _named(child)
    elif isinstance(value, list):
        for child in value:
            yield from _named(child)


def as_begun(config: DictConfig, folder: Path, typed: Iterable[str]) -> DictConfig:
    """The config of a run in `folder`; where a former posenc began it, what that did stands for keys it did not have.

    So a run that was begun before there was such a key goes on as it began, and is found again when it is finished.

    typed  the words of the command: what they set stands
    """
    named = config.get("ckpt_path")
    begun = next((each for each in (folder, run_folder(str(named)) if named else None) if _recorded_in(each)), None)
    if begun is None or config.get("force") is True or not isinstance(config.get("data"), DictConfig):
        return config
    with suppress(ConfigError, TypeError):  # a record that cannot be read is said where it is needed
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


def _recorded_in(folder: Path | None) -> bool:
    return folder is not None and (folder / CONFIG_FILE).is_file()


def check(plain: Mapping[str, Any], own: Path | None = None) -> None:
    """Raise ConfigError unless the checkpoint that the resolved config goes on from is one of this run's config.

    own  the folder of the new run: with `force` nothing that is to be read may lie in it, since all is set aside
    """
    path, start = plain["ckpt_path"], plain["start_from"]
    for key, named in (("ckpt_path", path), ("start_from", start)):
        there = None if named is None else run_folder(named)
        if plain["force"] and there is not None and own is not None and there.resolve() == own.resolve():
            raise ConfigError(
                f"force=true sets aside what is in {there}, and {key}={named} lies in it; leave force out, or choose "
                "another hydra.run.dir."
            )
    folder = None if path is None else run_folder(path)
    old = {} if folder is None else settings(record_of(folder))
    if path is not None and start is not None and old.get("start_from") != start:
        raise ConfigError("ckpt_path goes on with a run and start_from begins another; write one of them.")
    if folder is None:
        return
    new = settings(plain)
    if old.get("dataset._target_") is None:
        return  # no record of posenc's: the weights are checked all the same
    keys = [*new, *(key for key in old if key not in new)]
    keys.sort(key=lambda key: (key != "encoding._target_", key.startswith("encoding.")))  # its options follow others
    for key in keys:
        if key not in MAY_DIFFER and old.get(key) != new.get(key):
            there = reading.plain_text(old.get(key))
            raise ConfigError(
                f"ckpt_path={path} goes on with the run that wrote it, and {key} is {there!r} "
                f"there and {new.get(key)!r} here; leave out what sets it, or begin a new run with these weights by "
                f"start_from={path} in place of ckpt_path."
            )


def record_of(folder: Path) -> Any:
    """The recorded config of a run, plain. Raises ConfigError where it cannot be read."""
    try:
        return OmegaConf.to_container(reading.read_config(folder / CONFIG_FILE))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{folder / CONFIG_FILE} cannot be read ({error}), so the run cannot be gone on with."
        ) from error
