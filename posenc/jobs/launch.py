"""The command line. Hydra does the work; this file turns a user's mistake into one clear message and an exit status."""

import hashlib
import os
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stderr, suppress
from io import StringIO
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.utils import to_absolute_path
from omegaconf import OmegaConf

from posenc.checks import ConfigError
from posenc.config import mixtures  # noqa: F401  registers what Hydra finds mixtures by
from posenc.config.mistakes import BROKEN_OFF, mistakes
from posenc.config.resume import with_recorded
from posenc.config.typed import check_options, check_overrides
from posenc.runs.identity import HOW, watches
from posenc.runs.processes import place
from posenc.runs.slurm import slurm_job
from posenc.terminal import keep_going, muted, printing

SHOW_OPTIONS = {"--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i", "--version"}
"""Options of Hydra that print something and run nothing."""
FOLDER_KEYS = ("dataset", "encoding", "seed")
"""Keys whose values are names of folders inside the folder of a sweep."""
WATCHING_OPTIONS = ("default", "quiet")
"""Options of the group `callbacks` that only watch a run."""
WATCHING_CALLBACKS = ("progress", "gradient_norm", "layers", "layer_gradients", "tensorboard")
"""The callbacks that these options build."""
FOLDER_NAME_LIMIT = 100
MAX_FOLDER_BYTES = 255
"""Upper limit of a folder's name, in bytes; file systems refuse longer ones."""


def launch(main: Callable[..., Any], configs: Path) -> None:
    """Run a `hydra.main` function with the folder `configs`.

    With HYDRA_FULL_ERROR=1 in the environment every error keeps its traceback. If torchrun or srun has started several
    processes for one run, only the first one prints.
    """
    keep_going()
    here = place()
    with muted() if here is not None and here.rank else nullcontext():
        _launch(main, configs)


def _launch(main: Callable[..., Any], configs: Path) -> None:
    BROKEN_OFF.clear()
    for resolver in (run_folder, arm, causal_only, best_rate):
        OmegaConf.register_new_resolver(resolver.__name__, resolver, replace=True)
    words = overrides_first(sys.argv[1:])
    with mistakes(configs):
        check_options(sys.argv[1:])
        sys.argv[1:] = name_folders(with_recorded(words), configs)
    told = {word.partition("=")[0] for word in words} & SHOW_OPTIONS
    with printing() if told else nullcontext():
        _run(main, configs)


def _run(main: Callable[..., Any], configs: Path) -> None:
    """Run Hydra with the words of the command."""
    asked = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises errors instead of printing them
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


def overrides_first(words: list[str]) -> list[str]:
    """The same words with all overrides before the options. Hydra's parser needs all overrides next to each other."""
    parser = get_args_parser()
    try:
        with redirect_stderr(StringIO()):  # Hydra prints the same error later
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
    """A context manager that turns errors of Hydra's callbacks into errors of the command.

    Hydra itself turns such an error into a warning and ends with status 0. Here each error is printed as a sentence and
    added to the list.
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


def name_folders(words: list[str], configs: Path) -> list[str]:
    """Name the folder of a sweep after the values that all its runs share, and the runs' folders after the others.

    Hydra can leave keys out of a folder's name, but it does not know which keys vary. Keys with a list of values on the
    command line vary, and keys that an experiment sweeps.
    """
    with suppress(HydraException):  # Hydra prints the error later
        given = [word for word in words if re.match(r"~|[^-].*=", word)]
        overrides = OverridesParser.create().parse_overrides(given)
        fixed = {override.key_or_group for override in overrides if not override.is_sweep_override()}
        check_overrides(overrides, configs)
        excluded = sorted({*fixed, *FOLDER_KEYS, "recipe"})
        names = [
            f"hydra.job.config.override_dirname.exclude_keys={excluded}",
            f"hydra.sweep.dir='runs/{sweep_name(overrides)}'",  # a user's own value comes later and wins
        ]
        job = slurm_job()
        if job and not {"name", "hydra.run.dir"} & fixed and not {"-m", "--multirun"} & {*words}:
            names.append(f"name=slurm-{job}-{_digest(shlex.join(words))}")  # a requeued job finds its run
        return [*names, *words]
    return words


def sweep_name(overrides: list[Override]) -> str:
    """The name of a sweep's folder, for example `sweep_model.dim=32_trainer.max_steps=300`.

    It begins with `sweep`, or with the experiment or claim. Then come the values that all runs share. The same command
    finds the same folder again. So does a command with more seeds, encodings or data sets, because these have their own
    folders inside. How runs are launched and watched is not part of the name.
    """
    start, parts = "sweep", []
    given = {override.key_or_group: override for override in overrides}  # the last one wins, as in Hydra
    for override in (given[key] for key in sorted(given)):
        key, value = override.key_or_group, None if override.is_sweep_override() else override.value()
        if key == "name" and value:
            return str(value)
        if key in FOLDER_KEYS or re.split("[./]", key)[0] in HOW or _only_watches(key, given):
            continue
        if override.is_delete():
            parts.append(f"~{key}")
        elif key in ("experiment", "claim") and value:
            start = str(value)
        else:
            parts.append(key if override.is_sweep_override() else f"{key}={override.get_value_element_as_str()}")
    name = "_".join([start, *parts])
    plain = re.sub(r"[^\w.,=+~-]+", "-", name)
    if plain == name and len(name) <= FOLDER_NAME_LIMIT:
        return name
    return f"{plain[:FOLDER_NAME_LIMIT]}_{_digest(name)}"


def causal_only() -> str:
    """The names, for a glob, of encodings that are defined under a causal mask only."""
    from posenc.catalog.encodings import needs_causal
    from posenc.catalog.page import options  # four seconds of imports, which few commands need

    return ",".join(name for name, file in options("encoding").items() if needs_causal(file))


def best_rate(ledger: str | None, dataset: str, encoding: str, seed: int) -> float:
    """The best learning rate among the runs of a ledger; see posenc/report/numbers/learning_rate.py."""
    from posenc.report.numbers import learning_rate  # imports pandas, which few commands need

    if ledger is None:
        raise ConfigError(
            "ledger=null has no runs that choose the learning rate; write ledger=docs/answers/runs.csv, or "
            "optimizer.lr=3e-3."
        )
    return learning_rate.best_rate(Path(to_absolute_path(ledger)), dataset, encoding, seed)


def arm(encoding: str, recipe: str | None) -> str:
    """The name of a run's arm: its recipe if it has one, otherwise its encoding."""
    return encoding if recipe is None else recipe


def run_folder(dataset: str, encoding: str, seed: Any, varied: str) -> str:
    """The path of a run below the folder of its sweep: dataset/encoding/seed0/other varied values.

    With a recipe the path has the recipe instead of the encoding.
    """
    parts = [folder_name(str(part)) for part in (dataset, encoding, f"seed{seed}", varied)]
    return "/".join(part for part in parts if part)


def folder_name(text: str) -> str:
    """`text`, if it can be the name of one folder; otherwise its plain characters and a digest of `text`.

    The name never leads into another folder, is never hidden, and is never longer than file systems allow.
    """
    plain = text.isprintable() and not set(text) & {"/", "\\"} and text[:1] != "." and text[-1:] not in {" ", "."}
    if plain and len(text.encode()) <= MAX_FOLDER_BYTES:
        return text
    start = re.sub(r"[^\w.,=+~-]+", "-", text, flags=re.ASCII).lstrip(".-")[:FOLDER_NAME_LIMIT]
    return f"{start}_{_digest(text)}" if text else ""


def _only_watches(key: str, given: Mapping[str, Override]) -> bool:
    """Whether an override of `callbacks` only changes how a run is watched. It is judged by the words alone."""
    group, _, rest = key.partition(".")
    if group != "callbacks":
        return False
    if given[key].is_delete() or not rest:
        return given[key].is_delete() or given[key].value() in WATCHING_OPTIONS
    name = rest.partition(".")[0]
    target = given.get(f"callbacks.{name}._target_")
    return name in WATCHING_CALLBACKS if target is None else watches({"_target_": target.value()})


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=4).hexdigest()
