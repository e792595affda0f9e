"""Finds out why a model fails at a length: what differs most from a length at which it works, or from another run.

Every quantity compared here is between 0 and 1, so that changes can be ranked. For each quantity the head or layer with
the largest change counts. A difference is a hint, not a proof of a cause.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from posenc.analysis.measure import Analysis
from posenc.report.words import fixed
from posenc.runs.result import chosen

FAILS, HOLDS = 0.5, 0.5
"""A run fails at a length if its skill is below `FAILS`. It has learned its task if its skill is at least `HOLDS`."""
SMALL = 0.1
"""Smaller changes are not reported as explanations."""
TOLD = 3
"""The number of changes that are reported, the largest first."""


class Measure(NamedTuple):
    """A quantity with its name, and what it means if it has become less or more."""

    quantity: str
    what: str
    less: str
    more: str


MEASURES = (
    Measure("target_mass", "attention on the answer's token", "attention no longer finds the answer",
            "attention finds the answer better, and something else fails"),
    Measure("attention_entropy", "evenness of attention", "attention looks at fewer keys",
            "attention has become more even over the keys"),
    Measure("sink_rate", "attention on the first token", "the first token is no longer a sink",
            "the first token has become a sink"),
    Measure("toeplitzness_relative", "share of distance in the logits", "logits follow distance less",
            "logits follow distance more, content less"),
    Measure("toeplitzness_absolute", "share of the two places in the logits", "logits follow the two places less",
            "logits follow the two places more, content less"),
    Measure("variance_share", "share of position in the stream", "position has faded from the stream",
            "position crowds out the tokens in the stream"),
    Measure("probe_accuracy", "what a linear probe reads of the place", "the place can no longer be read",
            "the place can be read better"),
)  # fmt: skip
ARMS = {"variance_share": "position", "probe_accuracy": "linear"}
"""The arm that is compared, for quantities of the residual. Other quantities are compared by head."""


@dataclass(frozen=True)
class Shift:
    """The largest change of a quantity: its place, and the values before and after."""

    measure: Measure
    where: str
    before: float
    after: float

    @property
    def size(self) -> float:
        """The size of the change."""
        return abs(self.after - self.before)

    def __str__(self) -> str:
        return f"{self.measure.what} {self.where} {fixed(self.before, 2)} → {fixed(self.after, 2)}"

    @property
    def means(self) -> str:
        """What the change means."""
        return self.measure.more if self.after > self.before else self.measure.less


def failing(result: Mapping[str, object], trained: int) -> int | None:
    """The first test length above the trained lengths at which the run fails; None if it does not, or learned nothing.

    `result` is the content of result.json, `trained` the longest trained length.
    """
    skill = skills(result)
    if not any(value >= HOLDS for n, value in skill.items() if n <= trained):
        return None
    return next((n for n in sorted(skill) if n > trained and skill[n] < FAILS), None)


def skills(result: Mapping[str, object]) -> dict[int, float]:
    """{test length: skill}."""
    test = result.get("test")
    rows = test.items() if isinstance(test, Mapping) else ()
    return {int(n): float(row["skill"]) for n, row in rows if "skill" in row}


def changes(before: Analysis, after: Analysis) -> list[Shift]:
    """The largest change of each quantity, the largest first.

    For one model at two lengths, each head is compared with itself. Heads of two models have no common order. For them
    the strongest head of a layer is compared with the strongest, the second with the second, and so on.
    """
    alike = before.run.folder == after.run.folder
    found = (_largest(measure, _values(measure, before, alike), _values(measure, after, alike)) for measure in MEASURES)
    return sorted((change for change in found if change is not None), key=lambda change: -change.size)


def _values(measure: Measure, analysis: Analysis, by_head: bool) -> dict[str, float]:
    """{name of a place: the quantity there}."""
    if arm := ARMS.get(measure.quantity):
        row = analysis.row(measure.quantity, arm)
        return {"at the input" if layer == 0 else f"after block {layer:g}": value for layer, value in row.items()}
    if measure.quantity == "target_mass" and analysis.no_target:
        return {}
    rows = [analysis.row(measure.quantity, f"head {head}") for head in range(analysis.heads)]
    found: dict[str, float] = {}
    for layer in analysis.numbers:
        values = [row[layer] for row in rows]
        if not by_head:
            values.sort(reverse=True)
        for place, value in enumerate(values):
            name = (
                f"head {place}" if by_head else "the strongest head" if place == 0 else f"head {place + 1} by strength"
            )
            found[f"in layer {layer} {name}"] = value
    return found


def _largest(measure: Measure, before: Mapping[str, float], after: Mapping[str, float]) -> Shift | None:
    both = [Shift(measure, where, value, after[where]) for where, value in before.items() if where in after]
    return max(both, key=lambda change: change.size, default=None)


def stands(analysis: Analysis) -> str:
    """The sentence if nothing is compared."""
    known, trained = skills(analysis.run.result), analysis.run.module.task.length[1]
    if not known:
        return "The run has no skill, so no length can be named at which it fails; --against compares it with another."
    if not any(value >= HOLDS for n, value in known.items() if n <= trained):
        best = max(known, key=lambda n: known[n])
        return (
            f"It has not learned its task: its best skill is {fixed(known[best], 2)}, at length {best}; --against a "
            "run that has shows what differs."
        )
    return f"It fails at no tested length, to {max(known)}: skill {fixed(min(known.values()), 2)} or more."


def sentences(before: Analysis, after: Analysis) -> Iterator[str]:
    """Three sentences: the failure, the largest differences, and what they may mean."""
    yield f"{_seen(before)}; {_seen(after)}."
    found = changes(before, after)
    large = [change for change in found if change.size >= SMALL]
    if not large:
        most = f" ({found[0]})" if found else ""
        yield f"No quantity of this analysis differs by {SMALL:g} or more{most}."
        yield "What fails shows neither in the pattern of attention nor in what the stream knows of position."
        return
    yield f"What differs most: {'; '.join(map(str, large[:TOLD]))}."
    yield f"So {large[0].means}. A difference is a place to look, not a proof of the cause."


def _seen(analysis: Analysis) -> str:
    result, skill = analysis.run.result, skills(analysis.run.result).get(analysis.length)
    trained = analysis.run.module.task.length[1]
    tested = str(analysis.length) in (result.get("test") or {})
    known = f"has skill {fixed(skill, 2)}" if skill is not None else "has no skill" if tested else "was not tested"
    where = "trained" if analysis.length <= trained else f"trained to {trained}"
    return f"{chosen(result)[1]} {known} at length {analysis.length} ({where})"


def table(found: Sequence[Shift]) -> Iterator[str]:
    """All quantities as a Markdown table, the largest change first."""
    yield "| what | where it changes most | before | after |"
    yield "|---|---|---|---|"
    for change in found:
        before, after = fixed(change.before, 2), fixed(change.after, 2)
        yield f"| {change.measure.what} | {change.where} | {before} | {after} |"
