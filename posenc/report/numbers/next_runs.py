"""Says which runs would decide what a report leaves undecided, and how long they take.

How many seeds that needs is `Pair.needed`. The time is computed from the measured seconds of the runs that are there.
"""

import itertools
import math
import re
import shlex
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from posenc.report.numbers.judge import MOST_SEEDS, Pair
from posenc.report.reading.arms import Placed
from posenc.report.reading.sweeps import NO_SWEEP, Sweep
from posenc.report.words import duration, listing
from posenc.runs.folder import FINISHED
from posenc.runs.reading import plain_text
from posenc.statistics import SEEDS_FOR_VERDICT
from posenc.terminal import TRAIN, count

SWEEP = f"{TRAIN} -m "
PLAIN = re.compile(r"[\w.:+-]+")
"""Names that need no quotes in a command."""

CHOSEN = ("dataset", "encoding", "seed", "force")
"""Keys of a command for which this module chooses values."""
MAX_NAMED = 3
"""Upper limit of comparisons that a sentence names."""
MAX_WORDS = 12
"""Upper limit of encodings or data sets that a command names; with more, it keeps the words of its sweep."""


@dataclass(frozen=True)
class Open:
    """An arm, and the arms of which a report does not say how they compare with it."""

    facets: tuple[tuple[str, str], ...]
    """(dataset, positions) of the runs."""
    where: str
    """The place of the comparison, as a sentence needs it."""
    best: str
    rivals: dict[str, Pair]


class Against(NamedTuple):
    """One of these comparisons."""

    open: Open
    arm: str
    pair: Pair


@dataclass(frozen=True)
class Advice:
    """Sentences around a command. `command` is empty if nothing is worth running."""

    before: str
    command: str = ""
    after: str = ""

    def __str__(self) -> str:
        return f"{self.before} `{self.command}`{self.after}" if self.command else self.before


def still_open(facets: Sequence[tuple[str, str]], where: str, best: str, pairs: Mapping[str, Pair]) -> list[Open]:
    """The pairs that are not decided, or only by too few seeds for a verdict. No item if there are none."""
    rivals = {arm: pair for arm, pair in pairs.items() if pair.needed is None or pair.needed > pair.difference.n}
    return [Open(tuple(facets), where, best, rivals)] if rivals else []


def advice(found: Sequence[Open], placed: Sequence[Placed], sweeps: Mapping[str, Sweep]) -> Advice | None:
    """What to run next; None if everything is decided, or if the runs are those of a search.

    It asks for no seed that a claim's sweep lacks.

    With fewer seeds than a verdict needs, that many come first, because few seeds show their spread badly.

    sweeps  {folder: sweep}
    """
    if any(sweep.searched for sweep in sweeps.values()):
        return None
    pairs = [Against(one, arm, pair) for one in found for arm, pair in one.rivals.items()]
    few = any(each.pair.difference.n < SEEDS_FOR_VERDICT for each in pairs)
    most = max((each.pair.needed or 0 for each in pairs), default=0)
    goal = SEEDS_FOR_VERDICT if few else most
    asked = pairs if few else [each for each in pairs if each.pair.needed is not None]
    further = _not_yet(pairs, goal)
    if not asked:
        return Advice(" ".join(further)) if further else None
    arms = {arm for each in asked for arm in (each.open.best, each.arm)}
    facets = {facet for each in asked for facet in each.open.facets}
    mine = [item for item in placed if item.facet in facets and item.arm in arms and item.counted]
    seeds = _seeds(mine, goal)
    if tested := _lacking_claims(mine, seeds, sweeps):
        named = listing([f"claim={name}" for name in tested])
        rule = "this report asks for no seeds; docs/own_claim.md says when seeds may be added."
        return Advice(f"Runs here test {named}. Therefore {rule}")
    command, runs = _command(mine, placed, sweeps)
    soon = [each for each in pairs if each.pair.kind == "undecided" and (each.pair.needed or math.inf) <= goal]
    why = f"{goal} seeds would probably decide {_clauses(soon)}" if soon else f"a verdict needs {goal} seeds"
    named = f"seeds {seeds.start} to {seeds.stop - 1}" if len(seeds) > 1 else f"seed {seeds.start}"
    now = f"Run {named} now, because {why}:"
    words = f"seed='range({f'{seeds.start},' if seeds.start else ''}{seeds.stop})'"
    cost = f"; the others take {cost}, one run after another" if (cost := _cost(runs, seeds)) else ""
    after = " ".join([f" (finished runs are skipped{cost}).", *further])
    if not command:
        return Advice(f"{now} give", words, f" in the command of these runs{after}")
    return Advice(now, f"{command} {words}", after)


def _not_yet(pairs: Sequence[Against], goal: int) -> list[str]:
    """Sentences about the comparisons that `goal` seeds would probably not decide."""
    unclear = [each for each in pairs if each.pair.kind == "undecided"]
    said: list[str] = []
    if later := [each for each in unclear if (each.pair.needed or 0) > goal]:
        most = max(each.pair.needed or 0 for each in later)
        there = count(min(each.pair.difference.n for each in later), "seed")
        said.append(
            f"About {most} seeds would decide {_clauses(later)}. That number is rough, because it comes from {there}; "
            f"the report of {goal} seeds has a better one."
        )
    if never := [each for each in unclear if each.pair.needed is None]:
        said.append(f"Even {MOST_SEEDS} further seeds would probably not decide {_clauses(never)}.")
    return said


def _clauses(pairs: Sequence[Against]) -> str:
    """how a compares with b at length 32 and at length 256, and how c compares with d across 2 datasets."""
    rivals: dict[tuple[str, str], list[str]] = defaultdict(list)
    for each in pairs:
        rivals[each.open.best, each.open.where].append(each.arm)
    places: dict[frozenset[str], tuple[str, list[str]]] = {}
    for (best, where), others in rivals.items():
        said = f"how {best} compares with {listing(others)}"
        places.setdefault(frozenset([best, *others]), (said, []))[1].append(where)
    if len(places) > MAX_NAMED:
        return f"the {len(places)} undecided comparisons"
    return ", and ".join(f"{said} {listing(where)}" for said, where in places.values())


def _seeds(items: Sequence[Placed], needed: int) -> range:
    """The seeds, from the lowest that is there, with which every arm has `needed` seeds."""
    there: dict[tuple[object, ...], set[int]] = defaultdict(set)
    for item in items:
        if item.completed:
            there[item.facet, item.arm].add(item.run.seed)
    common = set.intersection(*there.values())
    start = min(set.union(*there.values()))
    stop = next(n for n in itertools.count(start + 1) if len(common | {*range(start, n)}) >= needed)
    return range(start, stop)


def _lacking_claims(mine: Sequence[Placed], seeds: Collection[int], sweeps: Mapping[str, Sweep]) -> list[str]:
    """The claims whose runs lack some of these seeds: runs of a claim are not extended until they suit."""
    there: dict[tuple[str, object, str], set[int]] = defaultdict(set)
    for item in mine:
        if claim := sweeps.get(plain_text(str(item.run.sweep)), NO_SWEEP).claim:
            there[claim, item.facet, item.arm].add(item.run.seed)
    return list(dict.fromkeys(claim for (claim, *_), found in there.items() if {*seeds} - found))


def _command(
    mine: Sequence[Placed], placed: Sequence[Placed], sweeps: Mapping[str, Sweep]
) -> tuple[str, Sequence[Placed]]:
    """(the command of the sweep without its seeds, only for what these runs need; the runs that it makes).

    The command is empty if the runs are of several sweeps, of none, or of commands that differ in more than `CHOSEN`.
    """
    folders = {plain_text(str(item.run.sweep)) for item in mine}
    commands = sweeps.get(next(iter(folders)), NO_SWEEP).commands if len(folders) == 1 else ()
    if not commands or not commands[-1].startswith(SWEEP) or len({*map(_fixed, commands)}) > 1:
        return "", mine
    beside = [item for item in placed if plain_text(str(item.run.sweep)) in folders]
    old = shlex.split(commands[-1].removeprefix(SWEEP))
    chosen, runs = _narrowed(mine, beside, {word.partition("=")[0]: word.partition("=")[2] for word in old})
    words = [shlex.quote(word) for word in old if word.partition("=")[0] not in {"seed", "force", *chosen}]
    return SWEEP + " ".join([*(f"{key}={','.join(values)}" for key, values in chosen.items()), *words]).strip(), runs


def _fixed(command: str) -> frozenset[str]:
    """The words of a command that `_command` keeps as they are, without those for Hydra, which no journal has."""
    words = shlex.split(command.removeprefix(SWEEP))
    return frozenset(word for word in words if word.partition("=")[0] not in CHOSEN and not word.startswith("hydra"))


def _narrowed(
    mine: Sequence[Placed], beside: Sequence[Placed], typed: Mapping[str, str]
) -> tuple[dict[str, list[str]], list[Placed]]:
    """(the datasets and encodings that the command needs, if its words make others; the runs of this command).

    Several commands can fill one folder. So the datasets and encodings of the last one may be fewer than those of the
    folder.

    typed  {key: value} of the command's words
    """
    runs, chosen = list(beside), dict[str, list[str]]()
    axis = "recipe" if all(item.run.recipe for item in beside) else "encoding"
    for key, name in (("dataset", "dataset"), (axis, "encoding")):
        needed = list(dict.fromkeys(getattr(item.run, name) for item in mine))
        mixed = key == "encoding" and any(item.run.recipe for item in beside)
        short = len(needed) <= MAX_WORDS and all(map(PLAIN.fullmatch, needed)) and not mixed
        there = {getattr(each.run, name) for each in beside}
        file = "experiment" in typed or "claim" in typed
        made = {*typed[key].split(",")} if key in typed else there if file or len(there) == 1 else {""}
        if short and {*needed} != made:
            chosen[key] = needed
            runs = [item for item in runs if getattr(item.run, name) in needed]
    return chosen, runs


def _cost(items: Sequence[Placed], seeds: Collection[int]) -> str:
    """About how long the runs of these arms on these seeds take that have not finished; empty if it is unknown."""
    arms: dict[tuple[object, ...], list[Placed]] = defaultdict(list)
    for item in items:
        arms[item.facet, item.arm].append(item)
    known: list[float] = []
    missing = 0
    total = 0.0
    for runs in arms.values():
        took = [max(item.run.measured("seconds") or 0.0, item.run.measured("wall_seconds") or 0.0) for item in runs]
        took = [seconds for seconds, item in zip(took, runs, strict=True) if item.completed and seconds > 0]
        left = len({*seeds} - {item.run.seed for item in runs if item.run.status in FINISHED})
        if took:
            known += took
            total += left * fmean(took)
        else:
            missing += left
    return f"about {duration(total + missing * fmean(known))}" if known else ""
