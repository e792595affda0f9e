"""The command line: Hydra does the work; here a user's mistake becomes one clear message and an exit status."""

import hashlib
import os
import re
import shlex
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, suppress
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from posenc.checks import ConfigError
from posenc.going_on import with_recorded
from posenc.identity import watches
from posenc.output import keep_going
from posenc.records import plain_text
from posenc.slurm import slurm_job
from posenc.suggestions import did_you_mean

MISTAKE = 2
"""Exit status after a user's mistake."""

PATH_KEYS = ("dataset", "encoding", "seed")
"""They name folders below that of a sweep."""
NAMELESS = ("hydra", "launcher", "logger", "force", "threads")
"""They change no result, so a sweep keeps its folder when they change."""
OBSERVERS = ("default", "quiet")
"""Options of `callbacks` that only watch."""
WATCHING = ("progress", "gradient_norm", "layers", "layer_gradients", "tensorboard")
"""What is in them."""
NAME_LIMIT = 100
LONGEST = 255
"""Bytes of a folder's name."""
EXTRAS = {"joblib": "joblib", "submitit_slurm": "slurm", "submitit_local": "slurm", "ray": "ray", "optuna": "search"}
"""Extras in pyproject.toml by the Hydra plugin that they bring."""

BROKEN_OFF: list[Callable[[], object]] = []
"""What tells of the jobs that have ended where a launcher's error takes a sweep to no end of its own."""


def launch(main: Callable[..., Any], configs: Path) -> None:
    """Run a `hydra.main` function over the folder `configs`.

    With HYDRA_FULL_ERROR=1 in the environment every error keeps its traceback.
    """
    keep_going()
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
    words = overrides_first(sys.argv[1:])
    with mistakes(configs):
        check_options(sys.argv[1:])
        sys.argv[1:] = name_folders(with_recorded(words))
    asked = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises to us instead of printing by itself
    if asked == "1":
        main()
        return
    try:
        with mistakes(configs), failed_callbacks() as failed:
            main()
    finally:
        os.environ.pop("HYDRA_FULL_ERROR")
    if failed:
        sys.exit(1)


def check_options(words: list[str]) -> None:
    """Raise ConfigError for what Hydra's parser would answer with its usage."""
    parser, wrong, said = get_args_parser(), list[str](), StringIO()
    try:
        with redirect_stderr(said):
            wrong = parser.parse_known_intermixed_args(words)[1]
    except SystemExit:
        raise ConfigError(f"{said.getvalue().strip().splitlines()[-1].partition('error: ')[2]}; see --help.") from None
    except TypeError:
        return
    if wrong:
        key, equals, value = wrong[0].lstrip("-").partition("=")
        after = words[words.index(wrong[0]) + 1 :][:1]
        value = value if equals else after[0] if after and not after[0].startswith("-") else "VALUE"
        raise ConfigError(
            f"{wrong[0]} is no option of train.py; values of the config have no dashes: write {key}={value}."
        )


def overrides_first(words: list[str]) -> list[str]:
    """The same words with all overrides before the options: Hydra's parser takes them in one run of words only."""
    parser = get_args_parser()
    try:
        with redirect_stderr(StringIO()):  # what it cannot read, Hydra reads again and says so
            overrides = parser.parse_known_intermixed_args(words)[0].overrides or []
    except (SystemExit, TypeError):
        return words
    options, left = [], list(overrides)
    for word in words:
        if left and word == left[0]:
            left.pop(0)
        else:
            options.append(word)
    return words if left else [*overrides, *options]


@contextmanager
def failed_callbacks() -> Iterator[list[str]]:
    """Hydra turns what one of its callbacks raises into a warning and ends with status 0; here it is an error.

    Each is printed in a sentence and added to the list.
    """
    failed, pattern = list[str](), r"Callback \w+\.on_\w+ raised "
    with warnings.catch_warnings():
        warnings.filterwarnings("always", message=pattern, category=UserWarning)
        show = warnings.showwarning

        def shown(message: Warning | str, *more: Any, **named: Any) -> None:
            if re.match(pattern, str(message)) is None:
                show(message, *more, **named)
                return
            failed.append(" ".join(str(message).split()))
            print(f"error: {failed[-1]}", file=sys.stderr)

        warnings.showwarning = shown
        yield failed


def name_folders(words: list[str]) -> list[str]:
    """Name a sweep's folder by what its runs have in common, and their folders by what varies.

    Hydra can leave keys out of a folder's name, but cannot tell which vary: those with a list of values on the command
    line do, and those that an experiment sweeps.
    """
    with suppress(HydraException):  # Hydra says what is wrong with them in a moment
        given = [word for word in words if re.match(r"~|[^-].*=", word)]
        overrides = OverridesParser.create().parse_overrides(given)
        fixed = {override.key_or_group for override in overrides if not override.is_sweep_override()}
        if "hydra.run.dir" in fixed and {"-m", "--multirun"} & {*words}:
            raise ConfigError("hydra.run.dir is the folder of one run, and this is a sweep; write hydra.sweep.dir=...")
        excluded = sorted({*fixed, *PATH_KEYS})
        names = [f"hydra.job.config.override_dirname.exclude_keys={excluded}"]
        if "hydra.sweep.dir" not in fixed:
            names.append(f"hydra.sweep.dir='runs/{sweep_name(overrides)}'")
        job = slurm_job()
        if job and not {"name", "hydra.run.dir"} & fixed and not {"-m", "--multirun"} & {*words}:
            names.append(f"name=slurm-{job}-{_digest(shlex.join(words))}")  # so that a requeued job finds its run
        return [*names, *words]
    return words


def sweep_name(overrides: list[Override]) -> str:
    """`sweep`, or the experiment, and what was changed for all runs: `sweep_model.dim=32_trainer.max_steps=300`.

    The same command finds its folder again, and so does one with more seeds, encodings or data sets, which have
    folders of their own below. How runs are launched and watched leaves no trace in the name.
    """
    start, parts = "sweep", []
    given = {override.key_or_group: override for override in overrides}  # the last one counts, as in Hydra
    for override in (given[key] for key in sorted(given)):
        key, value = override.key_or_group, None if override.is_sweep_override() else override.value()
        if key == "name" and value:
            return str(value)
        if key in PATH_KEYS or re.split("[./]", key)[0] in NAMELESS or _only_watches(key, given):
            continue
        if override.is_delete():
            parts.append(f"~{key}")
        elif key == "experiment" and value:
            start = str(value)
        else:
            parts.append(key if override.is_sweep_override() else f"{key}={override.get_value_element_as_str()}")
    name = "_".join([start, *parts])
    plain = re.sub(r"[^\w.,=+~-]+", "-", name)
    if plain == name and len(name) <= NAME_LIMIT:
        return name
    return f"{plain[:NAME_LIMIT]}_{_digest(name)}"


def run_folder(dataset: str, encoding: str, seed: Any, varied: str) -> str:
    """Where a run lies below the folder of its sweep: dataset/encoding/seed0/what else is varied."""
    parts = [folder_name(str(part)) for part in (dataset, encoding, f"seed{seed}", varied)]
    return "/".join(part for part in parts if part)


def folder_name(text: str) -> str:
    """`text` where it can be the name of one folder; else what is plain of it, and a digest that tells it from others.

    A name never leads into another folder, is never hidden, and never longer than file systems allow.
    """
    plain = text.isprintable() and not set(text) & {"/", "\\"} and text[:1] != "." and text[-1:] not in {" ", "."}
    if plain and len(text.encode()) <= LONGEST:
        return text
    start = re.sub(r"[^\w.,=+~-]+", "-", text, flags=re.ASCII).lstrip(".-")[:NAME_LIMIT]
    return f"{start}_{_digest(text)}" if text else ""


def _only_watches(key: str, given: Mapping[str, Override]) -> bool:
    """Whether an override of `callbacks` changes nothing but what watches a run, as far as the words alone say."""
    group, _, rest = key.partition(".")
    if group != "callbacks":
        return False
    if given[key].is_delete() or not rest:
        return given[key].is_delete() or given[key].value() in OBSERVERS
    name = rest.partition(".")[0]
    target = given.get(f"callbacks.{name}._target_")
    return name in WATCHING if target is None else watches({"_target_": target.value()})


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=4).hexdigest()


@contextmanager
def mistakes(configs: Path) -> Iterator[None]:
    """A mistake in config or options prints one message and exits with status 2."""
    try:
        yield
    except (HydraException, OmegaConfBaseException, ConfigError) as error:
        print(f"error: {plain_text(explain(error, configs))}", file=sys.stderr)
        sys.exit(MISTAKE)
    except YAMLError as error:
        print(f"error: a config file is not YAML: {plain_text(str(error))}", file=sys.stderr)
        sys.exit(MISTAKE)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except OSError as error:
        what = plain_text(str(error.filename or "a file"))
        print(f"error: {what} cannot be written or read ({error.strerror}).", file=sys.stderr)
        sys.exit(MISTAKE)
    except Exception as error:
        hydras = isinstance(error, ValueError) and str(error).startswith("Unable to configure")  # its logging
        if hydras or (isinstance(error, TypeError | ValueError) and _composing(error)):
            told = plain_text(_one_line(str(error)))
            print(f"error: the command line does not make a config: {told}.", file=sys.stderr)
            sys.exit(MISTAKE)
        if type(error).__module__.partition(".")[0] not in ("joblib", "submitit", "ray"):
            raise
        for tell in BROKEN_OFF:
            tell()
        reason = (str(error).strip().splitlines() or [""])[0]
        print(f"error: the process of a run died ({type(error).__name__}: {reason})", file=sys.stderr)
        print("what is finished is kept: the same command goes on with the rest.", file=sys.stderr)
        sys.exit(1)


def _composing(error: Exception) -> bool:
    """Whether Hydra raised it by itself over the command line: for some mistakes it has no type of its own."""
    files = [Path(frame.filename).parts for frame in traceback.extract_tb(error.__traceback__)]
    inside = any(parts[-2:] == ("posenc", "job.py") for parts in files)
    return not inside and not {"hydra", "omegaconf"}.isdisjoint(files[-1])


def explain(error: Exception, configs: Path) -> str:
    """The message of an error; a misspelt option is answered by those that exist."""
    text = str(error).strip()
    if isinstance(error, OverrideParseException):
        words = [*sys.argv, "", ""]
        after = words[words.index(error.override) + 1 :] if error.override in words else []
        if re.fullmatch(r"[\w.]+:?", error.override or "") and after[0]:
            value = next((word for word in after if word != "="), "")
            return f"{error.override} cannot be read; write {str(error.override).rstrip(':')}={value}, without spaces."
        return (
            f"{error.override} cannot be read; write it as KEY=VALUE, and a value with brackets, quotes, spaces or "
            "letters beyond a to z as KEY='\"VALUE\"'."
        )
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
    absent = r"Could not find '(\w+)/([^']+)'.*?Available options in '\w+':\n((?:\t[^\n]*\n?)*)"
    if text.startswith("Ambiguous value for argument"):
        word = text.partition("'")[2].partition("'")[0]
        return f"{word} asks for several runs; add -m, or write {word.partition('=')[0]}=[...] for one list."
    missing = re.search(absent, text, re.DOTALL)
    if missing is not None:
        group, wrong, options = missing.group(1), missing.group(2), missing.group(3).split()
        return f"{group}={wrong} does not exist; the options are {', '.join(options)}.{_nearest(wrong, options)}"
    cause = error.__cause__
    if isinstance(error, HydraException) and isinstance(cause, OmegaConfBaseException):
        text += f" ({str(cause).splitlines()[0]})"
    return _one_line(text)


def _one_line(text: str) -> str:
    """A message of Hydra's or OmegaConf's without what it says for those who read their source."""
    where = re.search(r"full_key: (\S+)", text)
    text = re.split(r"\n\s*(?:full_key|object_type|Config search path|See https)\b", text)[0]
    text = " ".join(text.split())
    return text if where is None or where.group(1) in text else f"{where.group(1)}: {text}"


def _unknown_key(key: str, configs: Path) -> str | None:
    """Name the keys that stand beside a key that does not exist."""
    from hydra import compose, initialize_config_dir

    chosen = [
        word
        for word in sys.argv[1:]
        if re.fullmatch(r"(encoding|dataset|model|positions|trainer|callbacks|logger|experiment|profile)=\w+", word)
    ]
    try:
        with initialize_config_dir(str(configs), version_base="1.3"):
            config = compose("train", overrides=chosen)
    except HydraException:  # an option from a folder of the user's own
        return None
    parent = key.rpartition(".")[0]
    node = OmegaConf.select(config, parent) if parent else config
    while parent and node is None:  # the mistake is further up
        parent = parent.rpartition(".")[0]
        node = OmegaConf.select(config, parent) if parent else config
    if not OmegaConf.is_dict(node):
        return f"{key} does not exist: {parent} has no options of its own."
    options = [str(name) for name in node if not str(name).startswith("_")]
    message = f"{key} does not exist; {parent or 'the config'} has {', '.join(options)}.{did_you_mean(key, config)}"
    group = key.partition(".")[0]
    several = [word for word in sys.argv[1:] if word.startswith(f"{group}=") and word not in chosen]
    if group in config and several:
        message = f"{key} does not exist in the base config; write ++{key}= to set it in the whole sweep."
    return message


def _nearest(wrong: str, options: list[str]) -> str:
    near = get_close_matches(wrong, options, n=1)
    return f" Did you mean {near[0]}?" if near else ""
