"""Which runs answer the same question and may be averaged: arms, and the runs that are counted in none.

A facet is a dataset under a position scheme; an arm is an encoding in it. Where runs of one name differ in a value of
their configs, the value becomes a part of the name: `rope (model.num_layers=4)`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from posenc.report.reading.read import UNFINISHED, Note, Run
from posenc.runs import identity
from posenc.runs.reading import short

MEASURED = ("dataset.test_lengths", "data.eval_size")
"""Settings that change how a trained model is measured: they tell runs apart only where a seed would count twice."""
FOUND = {"dataset.data_digest": "data_digest", "trainer.precision_used": "precision"}
"""What a run met besides its config, by its name in the result: the data, and what `precision: auto` came to. Runs that
did not record it are taken for what the others are."""


@dataclass(frozen=True)
class Placed:
    """A run and its place in the comparison."""

    run: Run
    dataset: str
    positions: str
    arm: str
    setting: str
    """What the arm's name says besides the encoding; two arms with one setting differ in the encoding alone."""
    counted: bool
    why_not: str = ""

    @property
    def facet(self) -> tuple[str, str]:
        """Dataset and position scheme."""
        return self.dataset, self.positions

    @property
    def completed(self) -> bool:
        """Whether its scores are used."""
        return self.counted and self.run.status == "completed"


def place(runs: Sequence[Run]) -> tuple[list[Placed], list[Note]]:
    """Put every run into its facet and arm; runs that cannot be told apart are named and not counted."""
    known = {id(run): _settings(run) for run in runs}
    notes: list[Note] = []
    datasets = _name(runs, known, lambda run: (run.dataset,), "dataset")
    schemes = _name(runs, known, lambda run: (run.positions,), "positions")
    facets: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        facets[datasets[id(run)], schemes[id(run)]].append(run)
    placed: list[Placed] = []
    for (dataset, positions), members in facets.items():
        shared = _name(members, known, lambda run: (), "shared")
        own = _name(members, known, lambda run: (run.encoding,), "encoding")
        groups: dict[tuple[str, str], list[Run]] = defaultdict(list)
        for run in members:
            groups[own[id(run)], shared[id(run)]].append(run)
        for (encoding, setting), group in groups.items():
            for run, arm, extra, counted, why in _members(group, known, encoding, setting, notes):
                placed.append(Placed(run, dataset, positions, arm, extra, counted, why))
    placed = _without_config(placed, notes)
    notes += _unlike(placed)
    order = {id(run): index for index, run in enumerate(runs)}
    return sorted(placed, key=lambda item: order[id(item.run)]), notes


def _unlike(placed: Iterable[Placed]) -> list[Note]:
    """What runs that are averaged were made with, where it is not the same for all."""
    made: dict[tuple[tuple[str, str], str], list[Mapping[str, Any]]] = defaultdict(list)
    for item in placed:
        versions = item.run.result.get("versions")
        if item.completed and isinstance(versions, Mapping):
            made[item.facet, item.arm].append(versions)
    unlike: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (_, arm), runs in made.items():
        for what in sorted({str(key) for versions in runs for key in versions}):
            used = sorted({str(versions[what]) for versions in runs if what in versions})
            if len(used) > 1:
                unlike[what, " and ".join(used)].append(arm)
    return [
        Note(", ".join(sorted(set(arms))), f"runs that are averaged were made with different {what}: {used}.")
        for (what, used), arms in unlike.items()
    ]


def _settings(run: Run) -> dict[str, Any]:
    """What an arm is made of: all that changes a result but the seed, and but what follows from something else."""
    flat = identity.settings(run.config or {})
    flat.pop("seed", None)
    flat.pop("ckpt_path", None)  # gone on with, or another run of the same config: it ends where it would have
    if not any(key.startswith("callbacks.") for key in flat):
        flat.pop("trainer.validate_every", None)  # then nothing but best.ckpt depends on it, which is not tested
    flat |= {key: run.result[name] for key, name in FOUND.items() if isinstance(run.result.get(name), str)}
    if isinstance(flat.get("start_from"), str):
        flat |= _started(flat["start_from"], run)
    follows = [key for key in flat if key.startswith("encoding.") and flat[key] == flat.get(f"model.{key[9:]}", object)]
    return {key: _plain(value) for key, value in flat.items() if key not in follows}


def _started(path: str, run: Run) -> dict[str, Any]:
    """What a run began with: one checkpoint for all, known by its digest, or that of its own encoding and seed."""
    own = {f"seed{run.seed}": "seed*", run.encoding: "*"}
    parts = path.split("/")
    named, known = "/".join(own.get(part, part) for part in parts), run.result.get("start_digest")
    shared = isinstance(known, str) and not own.keys() & {*parts}
    return {"start_from": named} | ({"start_from.digest": known} if shared else {})


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, list) else value


def _part(key: str) -> str:
    group = key.partition(".")[0]
    return group if group in ("dataset", "positions", "encoding") else "shared"


def _name(
    runs: Iterable[Run], known: Mapping[int, Mapping[str, Any]], key: Callable[[Run], tuple[str, ...]], part: str
) -> dict[int, str]:
    """A name for each run: its option and the values in which runs with this option differ."""
    groups: dict[tuple[str, ...], list[Run]] = defaultdict(list)
    for run in runs:
        groups[key(run)].append(run)
    names: dict[int, str] = {}
    for option, group in groups.items():
        described = [known[id(run)] for run in group if run.config is not None]
        varying = _varying(described, [k for k in _keys(described) if _part(k) == part and k not in MEASURED])
        varying = _fewest(described, varying)
        for run in group:
            words = _words(known[id(run)], varying) if run.config is not None else _said(run, part)
            names[id(run)] = short(" ".join(filter(None, [*option, f"({words})" if words and option else words])))
    return names


def _said(run: Run, part: str) -> str:
    """The same of a run without a config, as the table that it was read from has it."""
    return ", ".join(word for word in run.words if part in ("encoding", "shared") and _part(word) == part)


def _keys(described: Iterable[Mapping[str, Any]]) -> list[str]:
    return sorted({key for settings in described for key in settings})


def _varying(described: Sequence[Mapping[str, Any]], keys: Iterable[str]) -> list[str]:
    absent = object()
    found = {
        key: {repr(settings.get(key, absent)) for settings in described if key in settings or key not in FOUND}
        for key in keys
    }
    return [key for key, values in found.items() if len(values) > 1]


def _fewest(described: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> list[str]:
    """As few of the keys as tell the same runs apart: what varies together is named once, by what says most."""
    first = ("encoding", "positions", "dataset", "model", "callbacks", "trainer", "optimizer", "module", "data")
    last = {key for key in keys if key.endswith("_target_") and not key.startswith("callbacks.")}
    keys = sorted(keys, key=lambda key: (key in last, _place(first, key.partition(".")[0]), key))

    def groups(chosen: Sequence[str]) -> int:
        return len({tuple(repr(settings.get(key)) for key in chosen) for settings in described})

    chosen: list[str] = []
    while groups(chosen) < groups(keys):
        chosen.append(max(keys, key=lambda key: groups([*chosen, key])))
    return chosen


def _place(groups: Sequence[str], group: str) -> int:
    return groups.index(group) if group in groups else len(groups)


def _words(settings: Mapping[str, Any], keys: Iterable[str]) -> str:
    short = {key: f"{key.removesuffix('._target_')}={settings[key]}" for key in keys if key in settings}
    return ", ".join(short.values())


def _join(encoding: str, setting: str) -> str:
    if not setting:
        return encoding
    return f"{encoding[:-1]}, {setting})" if encoding.endswith(")") else f"{encoding} ({setting})"


def _members(
    group: list[Run], known: Mapping[int, Mapping[str, Any]], encoding: str, setting: str, notes: list[Note]
) -> Iterable[tuple[Run, str, str, bool, str]]:
    """(run, arm, setting, counted, why not) of runs that share a name."""
    seeds: dict[int, list[Run]] = defaultdict(list)
    for run in group:
        seeds[run.seed].append(run)
    clash = [run for runs in seeds.values() if len({_identity(run, known) for run in runs}) > 1 for run in runs]
    described = [known[id(run)] for run in clash if run.config is not None]
    varying = _varying(described, MEASURED)
    names = {id(run): _words(known[id(run)], varying) for run in group}
    for run in group:
        extra = ", ".join(filter(None, [setting, names[id(run)]]))
        arm = short(_join(encoding, extra))
        rivals = [other for other in seeds[run.seed] if names[id(other)] == names[id(run)]]
        if run.status == UNFINISHED:
            yield run, arm, extra, True, ""
            continue
        rivals = [other for other in rivals if other.status != UNFINISHED]
        if len({_identity(other, known) for other in rivals}) > 1:
            why = "the same arm and seed with different configs, which nothing in the folders tells apart"
            if run is rivals[0]:
                named = ", ".join(other.name for other in rivals)
                text = f"{arm} seed {run.seed}: these are {why}. They are refused: none of them is counted."
                notes.append(Note(named, text))
            yield run, arm, extra, False, f"refused: {why}"
            continue
        first = min(rivals, key=lambda other: (other.status != "completed", rivals.index(other)))
        if run is not first:
            text = f"the same run as {first.name} (seed {run.seed}, config {run.config_hash or 'equal'}): counted once"
            notes.append(Note(run.name, text + _disagreement(first, run) + "."))
            yield run, arm, extra, False, "duplicate of " + first.name
            continue
        yield run, arm, extra, True, ""


def _identity(run: Run, known: Mapping[int, Mapping[str, Any]]) -> str:
    if run.config_hash:
        plain = run.config or {}
        former = run.config_hash in identity.former_hashes(plain)
        return identity.config_hash(plain) if former else run.config_hash
    return repr(sorted(known[id(run)].items())) if run.config is not None else run.name


def _disagreement(first: Run, second: Run) -> str:
    both = [n for n in first.test if n in second.test and "accuracy" in first.test[n] and "accuracy" in second.test[n]]
    worst = max((abs(first.test[n]["accuracy"] - second.test[n]["accuracy"]) for n in both), default=0.0)
    return f", although their accuracies differ by up to {worst:.4f}" if worst > 1e-6 else ""


def _without_config(placed: list[Placed], notes: list[Note]) -> list[Placed]:
    """A run whose config is lost joins the one arm that its encoding has; where there are several it is refused."""
    result: list[Placed] = []
    for item in placed:
        if item.run.config is not None or item.run.saved or not item.counted or item.run.status == UNFINISHED:
            result.append(item)
            continue
        same = (item.run.dataset, item.run.positions, item.run.encoding)
        kin = [
            other
            for other in placed
            if other.run.config is not None and (other.run.dataset, other.run.positions, other.run.encoding) == same
        ]
        names = {(other.facet, other.arm) for other in kin}
        if not names or (len(names) > 1 and item.run.status != "completed"):
            result.append(item)
            continue
        other, why = kin[0], ""
        taken = [rival for rival in kin if rival.run.seed == item.run.seed and rival.counted]
        if len(names) > 1:
            why = "refused: its .hydra/config.yaml is missing and several arms have its name"
        elif taken and taken[0].run.config_hash == item.run.config_hash:
            why = f"duplicate of {taken[0].run.name}"
        elif taken:
            why = f"refused: its .hydra/config.yaml is missing and {taken[0].run.name} has its seed"
        if item.run.status == "completed":  # a run that failed early has no config to lose
            said = why or f"its .hydra/config.yaml is missing; it is counted as {other.arm}"
            notes.append(Note(item.run.name, said + "."))
        result.append(Placed(item.run, other.dataset, other.positions, other.arm, other.setting, not why, why))
    return result
