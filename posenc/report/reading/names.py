"""Names of runs: their option, and the values or the word in which runs with this option differ."""

import shlex
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

from posenc.report.reading.read import RECORDED_SETTINGS, Run
from posenc.runs.reading import short

Key = TypeVar("Key", bound=Hashable)
MEASURED = ("dataset.test_lengths", "data.eval_size", "data.eval_error", "data.validation_size")
"""Settings of the test. They separate runs only if otherwise a seed would count twice."""

SHARED = "shared"
"""The part of a name that says in what runs differ besides data set, positions and encoding."""
FILES = ("experiment=", "claim=", "profile=", "recipe=")
"""Words of a command that name files with values of several groups."""


def grouped(runs: Iterable[Run], key: Callable[[Run], Key]) -> dict[Key, list[Run]]:
    """The runs by key, in their order."""
    groups: dict[Key, list[Run]] = defaultdict(list)
    for run in runs:
        groups[key(run)].append(run)
    return groups


def _group(key: str) -> str:
    return key.partition(".")[0]


def _part(key: str) -> str:
    return group if (group := _group(key)) in ("dataset", "positions", "encoding") else SHARED


def name(
    runs: Iterable[Run],
    part: str,
    key: Callable[[Run], tuple[str, ...]] = lambda run: (),
    also: Sequence[str] = (),
    without: Sequence[str] = (),
    only: Sequence[str] = (),
) -> dict[Run, str]:
    """A name for each run: its option and the values in which runs with this option differ.

    also     keys of another part that also count
    without  keys of this part that do not count
    only     if given, no other keys count
    """

    def counts(key: str) -> bool:
        named = _part(key) == part and key not in without and (not only or key in only)
        return (named or key in also) and key not in MEASURED

    names: dict[Run, str] = {}
    for option, group in grouped(runs, key).items():
        described = [run.settings for run in group if run.config is not None]
        keys = sorted({key for settings in described for key in settings if counts(key)})
        varying = _fewest(described, varying_keys(described, keys))
        options = _options([run for run in group if run.config is not None], varying)
        parts = {
            run: _with_options(run, dict.fromkeys(also) | run.settings, varying, options)
            if run.config is not None or only
            else _said(run, part)
            for run in group
        }
        for run, words in _joined(parts).items():
            names[run] = short(" ".join(filter(None, [*option, f"({words})" if words and option else words])))
    return names


def _said(run: Run, part: str) -> list[str]:
    """The same for a run without a config, from the table that has the run."""
    return [word for word in run.words if part in ("encoding", SHARED) and _part(word) == part]


def _joined(parts: Mapping[Run, Sequence[str]]) -> dict[Run, str]:
    """The parts of each run in one string, without values that are null if the others tell the same runs apart."""
    whole = {run: ", ".join(words) for run, words in parts.items()}
    brief = {run: ", ".join(word for word in words if not word.endswith("=None")) for run, words in parts.items()}
    return brief if len({*brief.values()}) == len({*whole.values()}) else whole


def varying_keys(described: Sequence[Mapping[str, Any]], keys: Iterable[str]) -> list[str]:
    """The keys that have several values; a key of `RECORDED_SETTINGS` may also be absent."""
    absent = object()
    found = {
        key: {
            repr(settings.get(key, absent)) for settings in described if key in settings or key not in RECORDED_SETTINGS
        }
        for key in keys
    }
    return [key for key, values in found.items() if len(values) > 1]


def _fewest(described: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> list[str]:
    """The fewest keys that separate the same runs. If several keys vary together, only the most useful one is named."""
    first = ("encoding", "positions", "dataset", "model", "callbacks", "trainer", "optimizer", "module", "data")
    last = {key for key in keys if key.endswith("_target_") and not key.startswith("callbacks.")}
    rank = defaultdict(lambda: len(first), {group: place for place, group in enumerate(first)})
    keys = sorted(keys, key=lambda key: (key in last, rank[key.partition(".")[0]], key))

    def groups(chosen: Sequence[str]) -> int:
        return len({tuple(repr(settings.get(key)) for key in chosen) for settings in described})

    chosen: list[str] = []
    while groups(chosen) < groups(keys):
        chosen.append(max(keys, key=lambda key: groups([*chosen, key])))
    return chosen


def _options(runs: Sequence[Run], varying: Sequence[str]) -> dict[str, dict[Run, str]]:
    """{group: {run: option}} for each config group whose typed options separate the runs as its `varying` keys do.

    One word such as stop=solved then says all that the keys say. A run has no word if it has none of the keys, or if
    nothing was typed and the default stands.
    """
    found: dict[str, dict[Run, str]] = {}
    for group in (group for group in dict.fromkeys(map(_group, varying)) if _part(group) == SHARED):
        own = [key for key in varying if _group(key) == group]
        arms = grouped(runs, lambda run, own=own: tuple(repr(run.settings.get(key)) for key in own)).values()
        words = [_word(arm, group, own) if any(key in arm[0].settings for key in own) else "" for arm in arms]
        if None not in words and len({*words}) == len(words):
            found[group] = {run: word or "" for arm, word in zip(arms, words, strict=True) for run in arm}
    return found


def _word(runs: Sequence[Run], group: str, keys: Sequence[str]) -> str | None:
    """GROUP=OPTION, as it was typed for all these runs; empty for the default; None if it does not say the keys.

    A run that is not finished has not recorded its command, and does not count.
    """
    typed = {_typed(str(command), group, (*keys,)) for run in runs if (command := run.result.get("command"))}
    typed = typed - {""} or typed
    return typed.pop() if len(typed) == 1 else None


@cache
def _typed(command: str, group: str, keys: tuple[str, ...]) -> str | None:
    """GROUP=OPTION in the command of a run; empty if the run has the default of this group; None if neither is known.

    The option does not say the value of one of the keys if this value was typed too. The default is not known if a
    value of the group was typed, or a file that may set the group.
    """
    try:
        words = [word.lstrip("+") for word in shlex.split(command)]
    except ValueError:  # not a shell command
        return None
    options = [word for word in words if word.startswith(f"{group}=")]
    if options and any(word.partition("=")[0] in keys for word in words):
        return None
    if options:
        return options[-1]
    return "" if words and not any(word.startswith((f"{group}.", *FILES)) for word in words) else None


def _with_options(
    run: Run, settings: Mapping[str, Any], varying: Sequence[str], options: Mapping[str, Mapping[Run, str]]
) -> list[str]:
    """The parts of a run's name: GROUP=OPTION for a group in `options`, KEY=VALUE of other keys."""
    found: list[str] = []
    for key in varying:
        if (group := _group(key)) not in options:
            found += parts_of(settings, [key])
        elif (word := options[group].get(run, "")) not in found:
            found += [word] if word else []
    return found


def parts_of(settings: Mapping[str, Any], keys: Iterable[str]) -> list[str]:
    """KEY=VALUE of each key that the settings have."""
    return [f"{key.removesuffix('._target_')}={settings[key]}" for key in keys if key in settings]
