"""The overview of a sweep for TensorBoard: each arm as the mean of its seeds, with the ceilings.

For TensorBoard each folder is a run, and it selects no run if there are more than `SELECTED`. A sweep has a folder for
each seed of each arm, and its runs draw no pictures. Therefore the overview has its own folders.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from matplotlib.figure import Figure
from torch.utils.tensorboard.writer import SummaryWriter

from posenc.figures.style import CARD, DPI, look
from posenc.report.numbers import series
from posenc.report.numbers.compare import Comparison
from posenc.report.numbers.facets import Facet
from posenc.report.pages import figures
from posenc.runs.files import CEILINGS, EVENTS, SELECTED
from posenc.training.loggers.board import tag, write_row

SHOWN = 24
"""Upper limit of arms in a picture that has a row for each arm."""


@dataclass(frozen=True)
class Limit:
    """A ceiling or reference of a score, at each length."""

    name: str
    score: str
    points: dict[int, float]


def write_overview(comparison: Comparison, folder: Path) -> None:
    """Write the best arms of each facet, the ceilings and pictures. An earlier overview in `folder` is removed.

    Raises OSError if `folder` is a link or cannot be written.
    """
    if folder.is_symlink():
        raise OSError(f"{folder} is a link to another folder")
    for old in sorted(folder.rglob(f"{EVENTS}*")):
        old.unlink()
        with suppress(OSError):  # it may contain files of other programs
            old.parent.rmdir()
    facets = comparison.scored[: SELECTED - 1]
    arms = Counter(arm for facet in facets for arm in facet.arms)
    with ExitStack() as stack:

        def writer(*names: str) -> SummaryWriter:
            place = folder.joinpath(*map(_plain, names))
            while any(place.glob(f"{EVENTS}*")):  # two names may have the same plain name
                place = place.with_name(f"{place.name}+")
            return stack.enter_context(SummaryWriter(str(place)))

        for facet, room in zip(
            facets, _rooms([len(f.arms) + len(_limits(f)) for f in facets], SELECTED - 1), strict=True
        ):
            limits = _limits(facet)
            limits = limits if room - len(limits) > 1 else []
            for arm in facet.arms[: room - len(limits)]:
                names = (arm,) if arms[arm] == 1 else (facet.title, arm)
                _write_arm(writer(*names), comparison, facet, arm)
            for limit in limits:
                names = (CEILINGS, limit.name) if len(facets) == 1 else (CEILINGS, facet.title, limit.name)
                _write_limit(writer(*names), comparison, facet, limit)
        if facets:
            pictures = writer("pictures")
            for facet in facets:
                for name, figure in _pictures(comparison, facet):
                    pictures.add_figure(f"{name}/{facet.title}", figure)


def _rooms(wanted: Sequence[int], total: int) -> list[int]:
    """How many of `total` runs each facet gets: the wanted number, or an equal share of the rest."""
    given = [0] * len(wanted)
    for left, k in zip(range(len(wanted), 0, -1), sorted(range(len(wanted)), key=lambda k: wanted[k]), strict=True):
        given[k] = min(wanted[k], total // left)
        total -= given[k]
    return given


def _plain(name: str) -> str:
    """The name as it can be the name of a folder."""
    return re.sub(r"[^\w.,=+~() -]+", "-", name).lstrip(".")[:60] or "-"


def _write_arm(writer: SummaryWriter, comparison: Comparison, facet: Facet, arm: str) -> None:
    """Write learning curves by step, scores by test length, and a row with the values in which arms differ."""
    for _, column, other, lines in comparison.learning:
        for line in (line for line in lines if other is facet and line.arm == arm):
            for step, value in zip(line.x, line.mean, strict=True):
                writer.add_scalar(tag(column), value, int(step))
    for metric in dict.fromkeys((facet.metric, "accuracy")):
        for line in (line for line in series.by_length(facet, metric) if line.arm == arm):
            for length, value in zip(line.x, line.mean, strict=True):
                writer.add_scalar(_against_length(metric), value, int(length))
    scores: dict[str, float] = {}
    for length in sorted({facet.length, *facet.lengths()[-1:]}):
        if found := facet.interval(arm, length=length):
            name = f"4_compared/{facet.metric}_at_{length}"
            writer.add_scalar(name, found.estimate, 0)
            scores[name] = found.estimate
    write_row(writer, _choices(comparison, facet, arm), scores)


def _against_length(metric: str) -> str:
    return f"3_test_by_length/{metric}"


def _choices(comparison: Comparison, facet: Facet, arm: str) -> dict[str, str]:
    """The values that differ between arms of the sweep; the encoding, if nothing differs."""

    def described(facet: Facet, arm: str) -> dict[str, str]:
        return {"encoding": facet.encoding(arm), "dataset": facet.title, "setting": facet.setting(arm)}

    mine = described(facet, arm)
    others = [described(other, each) for other in comparison.scored for each in other.arms]
    varied = {name: value for name, value in mine.items() if any(other[name] != value for other in others)}
    return varied or {"encoding": mine["encoding"]}


def _limits(facet: Facet) -> list[Limit]:
    """The known ceilings of accuracy, and the references of bits if arms are compared by bits."""
    pairs = sorted(facet.ceilings.items())
    found = [
        Limit(name, "accuracy", {n: value for n, pair in pairs if (value := pair[k]) is not None})
        for k, name in enumerate(("order_blind", "order_aware"))
    ]
    if facet.lower:
        known = facet.references.items()
        found += [Limit(name, "bits", dict.fromkeys(facet.lengths(), value)) for name, value in known]
    return [limit for limit in found if limit.points]


def _write_limit(writer: SummaryWriter, comparison: Comparison, facet: Facet, limit: Limit) -> None:
    """Write a limit by length; the limit at the trained length is a line in the learning curves."""
    for length, value in limit.points.items():
        writer.add_scalar(_against_length(limit.score), value, length)
    trained = facet.trained[1] if facet.trained else facet.length
    for _, column, other, lines in comparison.learning:
        steps = [step for line in lines for step in line.x]
        if other is facet and column == f"validation/{limit.score}" and trained in limit.points and steps:
            for step in (0, int(max(steps))):
                writer.add_scalar(tag(column), limit.points[trained], step)


def _pictures(comparison: Comparison, facet: Facet) -> Iterator[tuple[str, Figure]]:
    """Pictures of scores by length and of every seed, in the small size of TensorBoard's pictures."""
    small = replace(facet, arms=facet.arms[:SHOWN])
    rows = [replace(row, facet=small) for row in comparison.rows if row.facet is facet and row.arm in small.arms]
    drawn: list[tuple[str, Figure]] = []
    with look():
        if series.has_lengths(facet, facet.metric):
            lines = series.by_length(facet, facet.metric)
            dress = figures.by_length(facet.metric)
            drawn.append(("score_by_length", figures.lines([facet], [lines], comparison.styles, dress, "")))
        drawn.append(("every_seed", figures.strip([small], rows, comparison.styles, "")))
        for name, figure in drawn:
            figure.set_figwidth(CARD)
            figure.set_dpi(DPI)
            yield name, figure
