"""Which arms of a facet may be compared and by which numbers, and why other arms may not."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from posenc.report.numbers.facets import LOST, Facet, Measured, Values
from posenc.report.numbers.judge import Judgement, Pair, Test
from posenc.report.words import listing, tally
from posenc.terminal import count

BUDGET = {
    "steps": "trainer.max_steps", "batch size": "data.batch_size", "training sequences": "data.train_size",
    "curriculum steps": "data.curriculum_steps",
}  # fmt: skip
"""Values that must be the same for two arms, so that their encodings can be compared."""
Key = tuple[object, ...]


@dataclass(eq=False)
class Meeting(Measured):
    """Arms that differ in only one setting, with a number for each seed at the compared length and at longer ones.

    A run that diverged or failed counts with skill 0 (see Facet.values). Arms that are left out are listed.
    """

    phrase: str
    metric: str
    length: int
    values: dict[int, dict[str, Values]]
    """{length: {arm: {seed: value}}}"""
    lost: dict[str, str] = field(default_factory=dict)
    """{arm: numbers of runs by status that count as skill 0}."""
    lacking: dict[str, str] = field(default_factory=dict)
    """{arm with fewer seeds than others: a text that names the missing seeds}."""
    apart: dict[str, str] = field(default_factory=dict)
    """{arm that is not compared: the reason}."""
    baseline: dict[str, str] = field(default_factory=dict)
    reach: dict[int, float] = field(default_factory=dict)
    """The largest possible difference at each length."""
    place: tuple[str, str] = ("", "")
    """(dataset, positions) of the facet."""

    @property
    def arms(self) -> list[str]:
        """The arms at the compared length, the best first."""
        return self.at(self.length)

    def at(self, length: int, among: Iterable[str] | None = None) -> list[str]:
        """The arms with a value at a length, the best first."""
        found = self.values.get(length, {})
        kept = [arm for arm in found if found[arm] and (among is None or arm in among)]
        sign = 1 if self.lower else -1
        return sorted(kept, key=lambda arm: (sign * fmean(found[arm].values()), arm))

    def mean(self, arm: str, length: int) -> float:
        """An arm's mean over its seeds."""
        return fmean(self.values[length][arm].values())

    def tests(self) -> dict[Key, Test]:
        """Every pair of arms at every length."""
        found: dict[Key, Test] = {}
        for length, arms in self.values.items():
            names = sorted(arm for arm in arms if arms[arm])
            for place, arm in enumerate(names):
                for other in names[place + 1 :]:
                    test = Test(arms[arm], arms[other], self.lower, self.reach.get(length))
                    found[id(self), length, arm, other] = test
        return found

    def pair(self, judged: Judgement[Key], arm: str, other: str, length: int | None = None) -> Pair | None:
        """The comparison of two arms; None if they have no common seed."""
        length = self.length if length is None else length
        first, second = sorted((arm, other))
        found = judged.get((id(self), length, first, second))
        return found if found is None or first == arm else found.reverse()


def meetings(facets: Sequence[Facet]) -> dict[int, list[Meeting]]:
    """{index of the facet: its meetings}, one meeting for each setting in which encodings are compared."""
    found = {place: _of_facet(facet) for place, facet in enumerate(facets)}
    for place, facet in enumerate(facets):
        kin = [other for other in facets if other.positions == facet.positions and other is not facet]
        here = {facet.encoding(arm) for arm in facet.arms} | set(facet.unfinished)
        elsewhere = {other.encoding(arm): other.title for other in kin for arm in other.arms if other.values(arm)}
        for encoding, title in sorted(elsewhere.items()):
            if encoding not in here and found[place]:
                found[place][0].apart[encoding] = f"no run here, but one on {title}"
    return found


def _of_facet(facet: Facet) -> list[Meeting]:
    scored = [arm for arm in facet.arms if facet.values(arm)]
    if not scored:
        return []
    chosen = _groups(facet, scored)
    result = [_meeting(facet, group) for group in chosen]
    first = result[0].arms[0]
    placed = {arm for group in chosen for arm in group}
    for one in result:
        for arm in sorted(placed - set(one.arms) - one.apart.keys()):
            if unequal := budgets(facet, arm, one.arms[0]):
                one.apart[arm] = unequal
    for arm in facet.arms:
        if arm in placed:
            continue
        if arm in scored:
            why = budgets(facet, arm, first) or "no other encoding has its setting"
        else:
            states = Counter(item.run.status for item in facet.of(arm))
            why = _ended(states) if states else "its runs are refused, as the notes of the report explain"
        _home(result, facet, arm).apart[arm] = why
    for encoding, number in facet.unfinished.items():
        if not any(facet.encoding(arm) == encoding for arm in facet.arms):
            result[0].apart[encoding] = f"{count(number, 'run')} unfinished, none has finished"
    return result


def _home(found: Sequence[Meeting], facet: Facet, arm: str) -> Meeting:
    return next((one for one in found if facet.setting(one.arms[0]) == facet.setting(arm)), found[0])


def _ended(states: Mapping[str, int]) -> str:
    if set(states) == {"completed"}:
        return "no score at this length"
    return f"{tally(states)}, no run completed" if sum(states.values()) > 1 else f"its run {next(iter(states))}"


def _groups(facet: Facet, scored: Sequence[str]) -> list[list[str]]:
    """Groups of arms that differ only in the encoding. If there are none: groups of one encoding, several settings."""
    for name in (facet.setting, facet.encoding):
        groups = [[arm for arm in scored if name(arm) == each] for each in dict.fromkeys(map(name, scored))]
        parts = [part for group in groups for part in _alike(facet, group) if len(part) > 1]
        if parts:
            return parts
    return [[scored[0]]]


def _alike(facet: Facet, group: Sequence[str]) -> list[list[str]]:
    """Groups of arms with the same budget. An unknown value of a budget counts as the same."""
    parts: list[list[str]] = []
    for arm in group:
        home = next((part for part in parts if not any(budgets(facet, arm, other) for other in part)), [])
        home.append(arm)
        if home == [arm]:
            parts.append(home)
    return parts


def budgets(facet: Facet, arm: str, other: str) -> str:
    """A text that names the budgets in which two arms differ."""
    ours, theirs = budget(facet, arm), budget(facet, other)
    differ = [name for name in ours if name in theirs and ours[name] != theirs[name]]
    said = [f"{_number(ours[name])} {name}, {other} has {_number(theirs[name])} {name}" for name in differ]
    return "another budget: " + "; ".join(said) if said else ""


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "unlimited" if value is None else str(value)


def budget(facet: Facet, arm: str) -> dict[str, object]:
    """The budget of the arm's runs, as far as the folders contain it."""
    found: dict[str, object] = {}
    for item in facet.of(arm):
        if not item.completed:
            continue
        for name, key in BUDGET.items():
            group, _, part = key.partition(".")
            values = (item.run.config or {}).get(group)
            if isinstance(values, Mapping) and part in values:
                found[name] = values[part]
        steps = item.run.measured("steps")
        known = found.get("steps")
        if steps is not None:  # a run that stopped early had the same budget
            found["steps"] = max(int(steps), known if isinstance(known, int) else 0)
    return found


def _meeting(facet: Facet, arms: Sequence[str]) -> Meeting:
    together = _common_seeds(facet, arms)
    lengths = [facet.length, *(n for n in facet.lengths() if n > facet.length)]
    values = {n: {arm: facet.values(arm, None, n) for arm in together} for n in lengths}
    lost = {arm: found for arm in together if (found := _counted_as_lost(facet, arm))}
    reach = {n: found for n in lengths if (found := facet.reach(None, n)) is not None}
    base = {arm: facet.baseline[arm] for arm in together if facet.baseline.get(arm) in together}
    place = facet.dataset, facet.positions
    found = Meeting(facet.phrase, facet.metric, facet.length, values, lost, {}, {}, base, reach, place)
    for arm in arms:
        if arm not in together:
            found.apart[arm] = f"no seed in common with {together[0]}"
    every = {seed for arm in together for seed in facet.values(arm)}
    every |= {item.run.seed for arm in together for item in facet.of(arm)}
    for arm in together:
        missing = sorted(every - facet.values(arm).keys())
        if missing:
            found.lacking[arm] = _lacks(facet, arm, missing)
    return found


def _counted_as_lost(facet: Facet, arm: str) -> str:
    states = Counter(item.run.status for item in facet.of(arm) if item.run.status in LOST)
    return tally(states) if states and facet.values(arm) else ""


def _lacks(facet: Facet, arm: str, seeds: Sequence[int]) -> str:
    status = {item.run.seed: item.run.status for item in facet.of(arm)}
    reasons = Counter(
        "no score at this length" if status.get(seed) == "completed" else status.get(seed, "no run") for seed in seeds
    )
    word = "seed" if len(seeds) == 1 else "seeds"
    why = next(iter(reasons)) if len(reasons) == 1 else tally(reasons)
    return f"{word} {listing([str(seed) for seed in seeds], 9)} ({why})"


def _common_seeds(facet: Facet, arms: Sequence[str]) -> list[str]:
    """The arms with the most common seeds: the arm with the most partners, and its partners."""
    seeds = {arm: facet.values(arm).keys() for arm in arms}
    most = max((len(seeds[a] & seeds[b]) for a in arms for b in arms if a != b), default=0)
    need = min(3, most)
    if need == 0:
        return list(arms[:1])
    partners = {a: [b for b in arms if b == a or len(seeds[a] & seeds[b]) >= need] for a in arms}
    centre = max(arms, key=lambda arm: len(partners[arm]))
    best = partners[centre][0]
    return [arm for arm in partners[centre] if arm in partners[best]]
