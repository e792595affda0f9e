"""`python -m posenc recommend`: lists the encodings that fit a need, computed from a ledger."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from posenc import checks, terminal
from posenc.answers.cells import Cell, of, seeds, sorted_out
from posenc.answers.standing import NOT_WORSE, UNDECIDED, WORSE, Place, Standing, learned, standings
from posenc.checks import ConfigError, nearest
from posenc.config import CONFIGS
from posenc.report.words import fixed, listing, span
from posenc.terminal import TRAIN, count

ASKS: dict[str, dict[str, str]] = tomllib.loads(files("posenc.answers").joinpath("asks.toml").read_text("utf-8"))
"""{need: {dataset, says}}."""
DELTA = 0.02
"""Smaller differences of skill do not matter (docs/answers/design.md)."""
OWN_DATA = "stop=solved seed='range(10)'"
"""How the command for a user's own data ends."""
FALLS = 0.5
"""An encoding fails at a length if its mean skill there is below this."""


@dataclass(frozen=True)
class Answer:
    """The answer to a need: for each place (data set and length) how each encoding compares with the best."""

    cells: Sequence[Cell]
    rows: Mapping[Place, Sequence[Standing]]
    """Every place that is asked about; no row where no encoding was tested."""

    @property
    def places(self) -> dict[Place, Sequence[Standing]]:
        """The places at which at least one encoding has learned the task."""
        return {place: rows for place, rows in self.rows.items() if learned(rows)}

    @property
    def unlearned(self) -> list[Place]:
        """The places at which no encoding has learned the task."""
        return [place for place, rows in self.rows.items() if not learned(rows)]

    def kinds(self, encoding: str) -> dict[Place, Standing]:
        """The Standing of an encoding at each place at which it has runs."""
        return {place: row for place, rows in self.places.items() for row in rows if row.encoding == encoding}

    @property
    def encodings(self) -> list[str]:
        """The encodings. The one with the smallest `shortfall` is first."""
        every = {row.encoding for rows in self.places.values() for row in rows}
        return sorted(every, key=lambda name: (self.shortfall(name), name))

    def shortfall(self, encoding: str) -> float:
        """The largest difference from the best mean, over all places."""
        return max(self.places[place][0].mean - row.mean for place, row in self.kinds(encoding).items())

    def of_kind(self, kind: str) -> list[str]:
        """The encodings of a kind. Not worse: at every place. Worse: at one place at least. Undecided: all others."""
        return [name for name in self.encodings if self._kind(name) == kind]

    def _kind(self, encoding: str) -> str:
        found = {row.kind for row in self.kinds(encoding).values()}
        return WORSE if WORSE in found else UNDECIDED if UNDECIDED in found else NOT_WORSE


def answer(
    found: Sequence[Cell], datasets: Sequence[str], times: Sequence[int], delta: float, within: int | None = None
) -> Answer:
    """Compare every encoding of these cells on these data sets at these lengths."""
    kept = [cell for cell in found if cell.dataset in datasets]
    skill = _skill(kept, datasets, times, within)
    rows = standings({place: arms for place, arms in skill.items() if arms}, delta)
    return Answer(kept, {place: rows.get(place, []) for place in skill})


def _skill(
    found: Sequence[Cell], datasets: Sequence[str], times: Sequence[int], within: int | None
) -> dict[Place, dict[str, dict[int, float]]]:
    return {
        (dataset, n): {cell.encoding: values for cell in of(found, dataset) if (values := cell.skill(n, within))}
        for dataset in datasets
        for n in times
    }


def with_every_place(found: Sequence[Cell], datasets: Sequence[str], times: Sequence[int]) -> list[str]:
    """The encodings that have a skill on each of these data sets at each of these lengths.

    A question about several data sets compares only these. Otherwise an encoding would count as worse than another one
    that nobody can name as the answer.
    """
    arms = [{*each} for each in _skill(found, datasets, times, None).values()]
    return sorted(set.intersection(*arms))


def show(
    ledger: Path,
    asks: str | None,
    longer_than_trained: int = 1,
    causal: bool | None = None,
    within: int | None = None,
    delta: float = DELTA,
    page: Path | None = None,
) -> None:
    """Print the answer to a need. Raises ConfigError if the ledger has no runs for it."""
    if page is not None:
        from posenc.answers.write import write  # imports matplotlib, which text does not need

        write(ledger, page)
        return
    checks.number("recommend", low=0, open_low=True, **{"--delta": delta})
    typed = {"--longer-than-trained": longer_than_trained, "--within": within}
    checks.positive("recommend", **checks.given(**typed))
    found, mixed = sorted_out(ledger, causal)
    there = sorted({cell.dataset for cell in found} | {dataset for dataset, _ in mixed})
    datasets = _datasets(asks, there, ledger, causal)
    for (dataset, _), error in mixed.items():
        if dataset in datasets:
            raise error
    times = sorted({1, longer_than_trained})
    for dataset in datasets:
        known = sorted({n for cell in of(found, dataset) for n in cell.times})
        if not {*times} <= {*known}:
            raise ConfigError(
                f"{ledger}: {dataset} was tested at {listing(list(map(str, known)), 9)} times its longest trained "
                f"length; give --longer-than-trained one of these, got {longer_than_trained}."
            )
    complete = with_every_place(found, datasets, times)
    tried = {cell.encoding for cell in found if cell.dataset in datasets}
    if not complete:
        raise ConfigError(
            f"{ledger} has no encoding with a skill on each of {listing(datasets, 9)}; ask for fewer of them, got "
            f"--asks {asks}."
        )
    said = answer([cell for cell in found if cell.encoding in complete], datasets, times, delta, within)
    if said.places:
        terminal.show(_table(said))
    for line in _sentences(said, delta, within, sorted(tried - {*complete})):
        print(line)
    if mixed:
        names = [f"{encoding} on {dataset}" for dataset, encoding in mixed]
        print(f"Not read, because their runs differ in more than the seed: {listing(names, 3)}.")


def _datasets(asks: str | None, there: Sequence[str], ledger: Path, causal: bool | None) -> list[str]:
    known = listing([*(word for word, ask in ASKS.items() if ask["dataset"] in there), *there] or ["nothing"], 20)
    words = [word.strip() for word in (asks or "").split(",") if word.strip()]
    if not words:
        raise ConfigError(f"--asks names nothing; {ledger} has runs for {known}.")
    datasets = [ASKS[word]["dataset"] if word in ASKS else word for word in words]
    for word, dataset in zip(words, datasets, strict=True):
        if word not in ASKS and not (CONFIGS / "dataset" / f"{word}.yaml").is_file() and word not in there:
            raise ConfigError(
                f"--asks {word} is no data set; {ledger} has runs for {known}.{nearest(word, [*ASKS, *there])}"
            )
        if dataset not in there:
            kind = "" if causal is None else f" of {'causal' if causal else 'bidirectional'} models"
            more = (
                f"`{TRAIN} -m dataset={dataset} encoding=none,rope stop=solved seed='range(10)' name=more` makes some, "
                "and `python -m posenc ledger add runs/more --ledger more.csv` makes a ledger of them."
                if causal is None  # one data set rarely fits both kinds of models
                else f"Leave out --{'' if causal else 'no-'}causal to read the runs of all models."
            )
            raise ConfigError(f"{ledger} has no run{kind} for --asks {word}; it has runs for {known}. {more}")
    return list(dict.fromkeys(datasets))


def named(place: Place) -> str:
    """The name of a place in the head of a table."""
    return f"{place[0]} {place[1]}×"


MARKS = {NOT_WORSE: "", WORSE: " −", UNDECIDED: " ?"}


def _table(said: Answer) -> Table:
    heads = [*map(named, said.places), *(f"solved {dataset}" for dataset in dict.fromkeys(d for d, _ in said.places))]
    table = terminal.table("mean skill; − worse, ? undecided", "encoding", *heads, "steps", "parameters")
    for name in said.encodings:
        own = [cell for cell in said.cells if cell.encoding == name]
        rows = said.kinds(name)
        skill = [f"{fixed(row.mean, 2)}{MARKS[row.kind]}" for row in rows.values()]
        solved = [
            f"{sum(cell.solved.values())}/{len(cell.runs)}"
            for dataset in dict.fromkeys(d for d, _ in said.places)
            for cell in of(own, dataset)
        ]
        steps = f"{sum(cell.mean_steps for cell in own) / len(own):,.0f}"
        table.add_row(escape(name), *skill, *solved, steps, f"{own[0].parameters or 0:,.0f}")
    return table


def _sentences(said: Answer, delta: float, within: int | None, incomplete: Sequence[str]) -> Iterator[str]:
    if within is not None:
        yield f"A run that had not solved its task within {within:,} steps counts as skill 0."
    for place in said.unlearned:
        yield f"{named(place)}: no encoding reaches skill {FALLS:g}, so it decides nothing."
    if not said.places:
        return
    best, open_, worse = (said.of_kind(kind) for kind in (NOT_WORSE, UNDECIDED, WORSE))
    yield (
        f"Not worse than the best by {delta:g} of skill, with 95 % confidence, at every place: "
        f"{listing(best, 20) if best else 'no encoding'} ({seeds(said.cells)})."
    )
    if open_:
        yield f"Undecided: {'; '.join(_undecided(said, name) for name in open_)}."
    if worse:
        yield f"Worse at some place: {'; '.join(_worse(said, name) for name in worse)}."
    if incomplete:
        yield f"Not judged, without a skill at every place: {listing(incomplete, 20)}."
    for name in best:
        yield from _known_to_fail(said, name)
    if taken := (best or open_)[:4]:
        yield "On data of your own:"
        options = {cell.encoding: cell.options for cell in said.cells}
        for words in dict.fromkeys(options[name] for name in taken):
            alike = ",".join(name for name in taken if options[name] == words)
            yield f"  {' '.join([TRAIN, '-m dataset=YOURS', f'encoding={alike}', *words, OWN_DATA])}"


def _undecided(said: Answer, name: str) -> str:
    open_ = {place: row for place, row in said.kinds(name).items() if row.kind == UNDECIDED}
    place, row = max(open_.items(), key=lambda item: item[1].more or float("inf"))
    more = f"about {count(row.more, 'more seed')}" if row.more is not None else "more than 100 further seeds"
    return f"{name} (against {row.rival} on {named(place)}; {more} would decide)"


def _worse(said: Answer, name: str) -> str:
    found = {place: row for place, row in said.kinds(name).items() if row.kind == WORSE}
    place, row = max(found.items(), key=lambda item: said.places[item[0]][0].mean - item[1].mean)
    rival = next(other.mean for other in said.places[place] if other.encoding == row.rival)
    return f"{name} ({fixed(row.mean, 2)} on {named(place)}, {row.rival} {fixed(rival, 2)})"


def _known_to_fail(said: Answer, name: str) -> Iterator[str]:
    for cell in (cell for cell in said.cells if cell.encoding == name):
        lost = [f"skill {fixed(mean, 2)} at {n}×" for n in cell.times if (mean := _mean(cell, n)) < FALLS]
        failed = len(cell.runs) - sum(cell.solved.values())
        bad = [*lost, *([f"{count(failed, 'seed')} of {len(cell.runs)} not solved"] if failed else [])]
        chance = f"{sum(cell.solved.values())} of {len(cell.runs)} seeds solve it {span(cell.success, 2)}"
        yield f"{name} on {cell.dataset}: {chance}{'; known to fail: ' + listing(bad, 9) if bad else ''}."


def _mean(cell: Cell, times: int) -> float:
    values = cell.skill(times).values()
    return sum(values) / len(values) if values else float("nan")
