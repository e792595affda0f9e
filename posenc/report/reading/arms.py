"""Arms: groups of runs that answer the same question and may be averaged. Some runs count in no arm.

A facet is a dataset with a position scheme; an arm is an encoding in a facet. If runs with one name differ in a value
of their configs, the value becomes a part of the name: `rope (model.num_layers=4)`. If they differ by an option of a
config group, the option does: `rope (stop=solved)`.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from posenc.report.reading.names import MEASURED, SHARED, grouped, name, parts_of, varying_keys
from posenc.report.reading.read import UNFINISHED, Note, Run
from posenc.report.words import listing
from posenc.runs.reading import short

OF_RECIPES = tuple(
    f"model.{key}"
    for key in ("norm", "rms_norm", "mlp_gate", "num_kv_heads", "qk_norm", "sinks", "soft_cap", "window", "logit_scale")
)
"""Values of the model in which recipes differ. In a facet with recipes they do not belong to the common setting."""


@dataclass(frozen=True)
class Placed:
    """A run and its place in the comparison."""

    run: Run
    dataset: str
    positions: str
    arm: str
    setting: str
    """The part of the arm's name after the encoding. Two arms with the same setting differ only in the encoding."""
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
    """Put every run into its facet and arm. Runs that cannot be distinguished do not count and get a note."""
    notes: list[Note] = []
    datasets = name(runs, "dataset", lambda run: (run.dataset,))
    schemes = name(runs, "positions", lambda run: (run.positions,))
    placed: list[Placed] = []
    for facet, members in grouped(runs, lambda run: (datasets[run], schemes[run])).items():
        recipes = [run for run in members if run.recipe]
        others, kept = [run for run in members if not run.recipe], OF_RECIPES if recipes else ()
        taken = {run.encoding for run in others}
        shared, own = name(members, SHARED, without=kept), name(others, "encoding", lambda run: (run.encoding,))
        own |= name(recipes, "encoding", partial(_recipe, taken), also=kept)
        block = name(others, SHARED, only=kept) if kept else {}
        names = {run: (own[run], ", ".join(filter(None, (shared[run], block.get(run))))) for run in members}
        for (encoding, setting), group in grouped(members, names.__getitem__).items():
            placed += _members(group, facet, encoding, setting, notes)
    placed = _without_config(placed, notes)
    notes += [*_unlike(placed), *_evaluated(placed)]
    order = {run: index for index, run in enumerate(runs)}
    return sorted(placed, key=lambda item: order[item.run]), notes


def _unlike(placed: Iterable[Placed]) -> list[Note]:
    """Notes about versions that differ between runs that are averaged."""
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


def _evaluated(placed: Iterable[Placed]) -> list[Note]:
    """Notes about arms that are evaluations of trained runs, and whose weights they use."""
    arms: dict[str, list[str]] = defaultdict(list)
    for item in placed:
        if item.run.evaluated is not None:
            said = item.run.result.get("evaluated")
            run = said.get("run") if isinstance(said, Mapping) else "a run that is not named"
            arms[f"{item.arm} on {item.dataset}"].append(f"{run} (trained as {item.run.evaluated.get('encoding')})")
    text = "evaluated only, nothing was trained: the weights are those of "
    return [Note(arm, f"{text}{listing([*dict.fromkeys(runs)])}.") for arm, runs in arms.items()]


def _recipe(taken: Collection[str], run: Run) -> tuple[str, ...]:
    """The name of a run's recipe, marked so that it differs from an encoding with this name."""
    return (f"recipe={run.encoding}" if run.encoding in taken else run.encoding,)


def _join(encoding: str, setting: str) -> str:
    if not setting:
        return encoding
    return f"{encoding[:-1]}, {setting})" if encoding.endswith(")") else f"{encoding} ({setting})"


def _members(
    group: list[Run], facet: tuple[str, str], encoding: str, setting: str, notes: list[Note]
) -> Iterator[Placed]:
    """Runs with the same name. A run that occurs twice counts once; runs that cannot be distinguished do not count."""
    seeds = grouped(group, lambda run: run.seed)
    clash = [run for runs in seeds.values() if len({run.identity for run in runs}) > 1 for run in runs]
    varying = varying_keys([run.settings for run in clash if run.config is not None], MEASURED)
    names = {run: ", ".join(parts_of(run.settings, varying)) for run in group}
    for run in group:
        extra = ", ".join(filter(None, [setting, names[run]]))
        arm, why = short(_join(encoding, extra)), ""
        rivals = [other for other in seeds[run.seed] if names[other] == names[run] and other.status != UNFINISHED]
        rivals = [other for other in rivals if other.config is not None or other.status != "failed"] or rivals
        identities = {other.identity for other in rivals}
        if run.status == UNFINISHED:
            pass
        elif run not in rivals and run.identity not in identities:  # it may have another value of what a sweep varies
            why = f"refused: it failed before its config was recorded{f' ({run.error})' if run.error else ''}"
        elif len(identities) > 1:
            why = "the same arm and seed with different configs, which nothing in the folders tells apart"
            if run is rivals[0]:
                named = ", ".join(other.name for other in rivals)
                text = f"{arm} seed {run.seed}: these are {why}. They are refused: none of them is counted."
                notes.append(Note(named, text))
            why = f"refused: {why}"
        elif run is not (first := min(rivals, key=lambda other: other.status != "completed")):
            text = f"the same run as {first.name} (seed {run.seed}, config {run.config_hash or 'equal'}): counted once"
            notes.append(Note(run.name, text + _disagreement(first, run) + "."))
            why = "duplicate of " + first.name
        yield Placed(run, *facet, arm, extra, not why, why)


def _disagreement(first: Run, second: Run) -> str:
    both = [n for n in first.test if n in second.test and "accuracy" in first.test[n] and "accuracy" in second.test[n]]
    worst = max((abs(first.test[n]["accuracy"] - second.test[n]["accuracy"]) for n in both), default=0.0)
    return f", although their accuracies differ by up to {worst:.4f}" if worst > 1e-6 else ""


def _options(run: Run) -> tuple[str, str, str, bool]:
    return run.dataset, run.positions, run.encoding, run.evaluated is not None


def _without_config(placed: list[Placed], notes: list[Note]) -> list[Placed]:
    """Put a run without a config into the only arm of its encoding. If there are several arms, it does not count."""
    result: list[Placed] = []
    for item in placed:
        if item.run.config is not None or item.run.saved or not item.counted or item.run.status == UNFINISHED:
            result.append(item)
            continue
        same = _options(item.run)
        kin = [other for other in placed if other.run.config is not None and _options(other.run) == same]
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
        if item.run.status == "completed":  # a run that failed early never had a config
            said = why or f"its .hydra/config.yaml is missing; it is counted as {other.arm}"
            notes.append(Note(item.run.name, said + "."))
        result.append(Placed(item.run, other.dataset, other.positions, other.arm, other.setting, not why, why))
    return result
