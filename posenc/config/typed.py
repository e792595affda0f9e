"""Checks the words of a command before Hydra reads them, where Hydra's own message would not help a user."""

from collections.abc import Collection
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path, PurePosixPath
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.types import Glob, Override

from posenc.checks import ConfigError
from posenc.config.suggestions import GROUPS
from posenc.terminal import TRAIN

MERGED = ("callbacks", "logger", "trainer")
"""Groups that allow several options at once. Other groups name an arm, a task or an experiment."""
LEFT_OUT = ("callbacks", "logger")
"""Groups that a run does not need."""
NOTHING = ("experiment", "claim", "profile", "launcher", "recipe")
"""Groups that have no default option."""


def check_options(words: list[str]) -> None:
    """Raise ConfigError for words that Hydra's parser cannot read, and for an option without effect."""
    parser, wrong, said = get_args_parser(), list[str](), StringIO()
    try:
        with redirect_stderr(said), redirect_stdout(StringIO()):
            options, wrong = parser.parse_known_intermixed_args(words)
    except SystemExit as end:
        if not end.code:  # --version, which Hydra prints later
            return
        raise ConfigError(f"{said.getvalue().strip().splitlines()[-1].partition('error: ')[2]}; see --help.") from None
    except TypeError:
        return
    if wrong:
        key, equals, value = wrong[0].lstrip("-").partition("=")
        after = words[words.index(wrong[0]) + 1 :][:1]
        value = value if equals else after[0] if after and not after[0].startswith("-") else "VALUE"
        raise ConfigError(
            f"{wrong[0]} is no option of {TRAIN}; values of the config have no dashes: write {key}={value}."
        )
    if options.package and not options.cfg:
        raise ConfigError(f"--package {options.package} only changes what --cfg shows; add --cfg job.")


def check_overrides(overrides: Collection[Override], configs: Path) -> None:
    """Raise ConfigError for an option that its group does not have, and for a `name` that cannot name a folder.

    configs  the folder with a subfolder of options for each group
    """
    keys = {override.key_or_group for override in overrides}
    for other in ("hydra.run.dir", "hydra.sweep.dir") if "name" in keys else ():
        if other in keys:
            raise ConfigError(f"name and {other} both name the folder, and name would have no effect; leave one out.")
    for override in overrides:
        group = override.key_or_group
        if group in GROUPS and override.package is None:
            options = sorted(path.stem for path in (configs / group).glob("*.yaml"))
            _check_choice(group, override, options)
        if group.startswith("hydra.callbacks.summary") and "." not in group[len("hydra.callbacks.") :]:
            raise ConfigError("hydra.callbacks.summary reports the runs of a command; leave it unchanged.")
        if group == "name" and not override.is_delete() and not override.is_sweep_override():
            _check_name(override.value())


def _check_choice(group: str, override: Override, options: list[str]) -> None:
    listed = ", ".join(options)
    if override.is_delete():
        if group in LEFT_OUT and override.value() is None:
            return
        raise ConfigError(f"a run needs {group}; leave {override.input_line} out.")
    if override.is_sweep_override():
        listed_values = override.is_choice_sweep() and not isinstance(override.value(), Glob)
        chosen = override.sweep_string_iterator() if listed_values else ()
        for each in chosen:
            _check_word(group, str(each))
        return
    value, line = override.value(), str(override.input_line)
    if override.is_add() or override.is_force_add():
        raise ConfigError(f"{group} is chosen once; write {line.lstrip('+')}, without +.")
    if value is None or value == "":
        instead = f"leave {group} out" if group in NOTHING else f"the options are {listed}"
        instead = f"~{group} leaves it out, {instead}" if group in LEFT_OUT else instead
        raise ConfigError(f"{line} chooses nothing; {instead}.")
    if isinstance(value, list):
        if group not in MERGED:
            raise ConfigError(
                f"{line}: {group} is one of {listed}; for a run of each leave the brackets out and add -m."
            )
        return
    _check_word(group, str(value))


def _check_word(group: str, value: str) -> None:
    """Raise ConfigError if the option is a path. Another spelling would be another arm with the same encoding."""
    parts = [part for part in PurePosixPath(value).parts if part.strip("/")]
    name = "".join(parts).removesuffix(".yaml").removesuffix(".yml")
    if len(parts) == 1 and name != value:
        raise ConfigError(f"{group}={value} names a file; write {group}={name}.")


def _check_name(name: Any) -> None:
    """Raise ConfigError unless `name` is the name of a folder in runs/ or below."""
    parts = PurePosixPath(name).parts if isinstance(name, str) else ()
    if isinstance(name, int | float) and not isinstance(name, bool):
        return
    if not parts or parts[0] == "/" or ".." in parts or "'" in str(name):
        raise ConfigError(
            f"name must name a folder in runs/, got {name!r}; another place is hydra.run.dir=FOLDER, or in a sweep "
            "hydra.sweep.dir=FOLDER."
        )
