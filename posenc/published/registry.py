"""`python -m posenc claims`: every claim with its verdict, recomputed from its table of seeds."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from posenc import checks, terminal
from posenc.catalog.page import node_of, options
from posenc.checks import ConfigError
from posenc.config import CONFIGS
from posenc.config.mistakes import first_cause
from posenc.published.claim import PublishedClaim
from posenc.published.write import PAGE, TABLE, VERDICT, told
from posenc.runs import reading
from posenc.statistics.claims import OUTCOMES, Verdict
from posenc.statistics.measurements import Measurements
from posenc.terminal import TRAIN

RESULTS = CONFIGS.parent / "docs" / "claims"
"""The folder with the committed results, one folder for each claim."""
ABOUT = ("encoding", "dataset", "positions")
"""The keys by which a claim can be searched."""


@dataclass(frozen=True)
class Entry:
    """A claim, its encodings, data sets and position schemes, and its verdict if it has been judged."""

    name: str
    claim: PublishedClaim
    about: frozenset[str]
    verdict: Verdict | None = None
    date: str = "–"
    commit: str = "–"


def claim_of(file: Path) -> PublishedClaim:
    """The claim in configs/claim/NAME.yaml, or in the user's folder. Raises ConfigError if the file has no claim."""
    node = node_of(file)
    if "claim" not in node:
        raise ConfigError(f"{file} contains no claim; docs/own_claim.md describes one.")
    try:
        return instantiate(node.claim, _convert_="all")
    except InstantiationException as error:
        raise ConfigError(
            f"{file}: {str(first_cause(error) or error).rstrip('.')}; docs/own_claim.md describes a claim."
        ) from error


def entries(results: Path = RESULTS, own: Path | None = None) -> Iterator[Entry]:
    """Every claim by name, with the claims of the user's config folder `own`."""
    for _, file in sorted(options("claim", own).items()):
        claim, folder = claim_of(file), results / file.stem
        about = _about(file, claim)
        if not (folder / TABLE).exists():
            yield Entry(file.stem, claim, about)
            continue
        found = Measurements.read(reading.read_table(folder / TABLE).decode("utf-8"))
        record = reading.read_json(folder / VERDICT)
        when, commit = (str(record.get(key, "–")) for key in ("date", "commit"))
        yield Entry(file.stem, claim, about, claim.verdict(found), when, commit)


def _about(file: Path, claim: PublishedClaim) -> frozenset[str]:
    """The options of its arms, and the options that its file sets for all arms."""
    for_all = [line for line in node_of(file).get("defaults", ()) if isinstance(line, Mapping)]
    found = [arm.get(key) for arm in claim.arms.values() for key in ABOUT]
    found += [line.get(f"override /{key}") for line in for_all for key in ABOUT]
    return frozenset(str(name) for name in found if name is not None)


def show(about: str | None = None, markdown: bool = False, config_dir: Path | None = None) -> None:
    """Print the registry of all claims, or of the claims about one encoding or task.

    config_dir  the user's config folder, whose claims are listed too
    """
    found = list(entries(own=config_dir))
    if about is not None:
        known = sorted(frozenset[str]().union(*(one.about for one in found)))
        checks.one_of("claims", known, **{"--about": about})
        found = [one for one in found if about in one.about]
    if markdown:
        print(page(found))
        return
    table = terminal.table(
        f"{len(found)} published claims", "claim", "verdict", "found", "minutes", left=("verdict", "found")
    )
    table.columns[2].no_wrap = False  # sentences
    for one in found:
        outcome = "not judged" if one.verdict is None else one.verdict.outcome
        table.add_row(
            one.name, outcome, "–" if one.verdict is None else told(one.claim, one.verdict), f"{one.claim.minutes:g}"
        )
    terminal.show(table)
    print(f"{TRAIN} claim=NAME judges one; configs/claim/NAME.yaml has its sentence, source and setting.")


def tally(found: Sequence[Entry]) -> str:
    """How many claims are judged, and how often each verdict came out."""
    outcomes = Counter(one.verdict.outcome for one in found if one.verdict is not None)
    if not outcomes:
        return f"none of {len(found)} is judged yet"
    each = [f"{outcomes[outcome]} {outcome}" for outcome in OUTCOMES if outcome in outcomes]
    return f"{outcomes.total()} of {len(found)} are judged: {', '.join(each)}"


def page(found: list[Entry]) -> str:
    """docs/claims/README.md."""
    lines = [
        "# Published claims",
        "",
        "[Documentation](../README.md)",
        "",
        "Each row is a file, `configs/claim/NAME.yaml`: what was published, how it is measured here, and what would",
        "refute it. `python train.py claim=NAME` runs its sweep and judges it; the verdict words are those of",
        "[the studies](../studies/README.md#what-a-verdict-says). [own_claim.md](../own_claim.md) says how to add one.",
        "The date is that of the judgement. The commit is that of the code that made the runs, with a plus sign if",
        "files differed from it; a dash says that no run recorded it, *unknown* that some did not.",
        "",
        f"{tally(found)[0].upper()}{tally(found)[1:]}.",
        "",
        "| claim | verdict | found | minutes | date, commit |",
        "|---|---|---|---|---|",
    ]
    for one in sorted(found, key=lambda one: one.verdict is None):
        says, verdict, numbers = one.claim.judged.statement, "not judged yet", "–"
        if one.verdict is not None:
            says, numbers = f"[{says}]({one.name}/{PAGE})", told(one.claim, one.verdict)
            verdict = f"**{one.verdict.outcome}**"
        named = f"{says}. `{one.name}`, [source]({one.claim.source})"
        when = f"{one.date}, {one.commit}" if one.verdict is not None else "–"
        lines.append(f"| {named} | {verdict} | {numbers} | {one.claim.minutes:g} | {when} |")
    return "\n".join(lines)
