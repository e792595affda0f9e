"""docs/answers/index.html: the answer as one page without other files. A reader chooses the needs of his task."""

import html
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from posenc.answers.cells import Cell, of, seeds
from posenc.answers.judged import asked, causal, commands, datasets, everything, judged
from posenc.answers.page import draw
from posenc.answers.recommend import DELTA, OWN_DATA, Answer
from posenc.answers.standing import LEARNED
from posenc.answers.summary import finding, unknown
from posenc.figures.style import DARK, look, pictures, styles
from posenc.figures.vectors import inline
from posenc.report.pages import page as report_page
from posenc.report.words import NONE, fixed
from posenc.terminal import TRAIN, count

PAGE = "index.html"
HERE = Path(__file__).parent
HEADS = ("data set", "encoding", "learning rate", "solved", "steps")


def render(found: Sequence[Cell], ledger: str) -> str:
    """The page. Its answers are the same as in README.md: one family of comparisons for all tasks and lengths."""
    every, found = found, judged(found)
    said = everything(found)
    names, times = datasets(found), sorted({n for cell in found for n in cell.times})
    judged_at = sorted({n for _, n in (*said.places, *said.unlearned)})
    colours = {
        name: f"var(--c{style.colour[1:]})"
        for name, style in styles({cell.encoding: cell.encoding for cell in found}).items()
    }
    with look("skill_by_length"):
        picture = inline(pictures(draw(found))[1], html.escape(finding(said)), DARK)
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("web.html").render(
        tasks=[{"dataset": name, "says": asked(name) + ", causal" * causal(found, name)} for name in names],
        lengths=judged_at,
        delta=f"{DELTA:g}",
        facts=[
            count(len(names), "task"),
            count(len(colours), "encoding"),
            f"{seeds(found)} a cell",
            "each encoding at its best of three learning rates",
            count(sum(len(cell.runs) for cell in found), "run"),
        ],
        finding=finding(said),
        picture=picture,
        heads=[*HEADS, *(f"{n}×" for n in times)],
        cells=[_row(cell, times, colours[cell.encoding]) for cell in found],
        commands=[command for name in names for command in commands(found, name)],
        unknown=[*unknown(said, every, found)],
        ledger=ledger,
        data={
            "places": dict(_places(said)),
            "learned": LEARNED,
            "colours": colours,
            "start": f"{TRAIN} -m dataset=YOURS",
            "options": {cell.encoding: " ".join(cell.options) for cell in found if cell.options},
            "end": OWN_DATA,
        },
        policy=report_page.POLICY,
        style=report_page.style() + (HERE / "web.css").read_text("utf-8"),
        script=report_page.script() + (HERE / "web.js").read_text("utf-8"),
    )


def _places(said: Answer) -> Iterator[tuple[str, dict[str, Any]]]:
    """The data that `web.js` needs: every encoding at each place.

    `web.js` compares only the encodings with runs on all chosen tasks, so it needs the names of those that are better.
    """
    for (dataset, n), rows in said.rows.items():
        cells = {cell.encoding: cell for cell in of(said.cells, dataset)}
        yield (
            f"{dataset} {n}",
            {
                row.encoding: {
                    "mean": round(row.mean, 4),
                    "text": fixed(row.mean, 2),
                    "better": row.better,
                    "doubtful": row.doubtful,
                    "solved": _solved(cells[row.encoding]),
                    "parameters": int(cells[row.encoding].parameters or 0),
                }
                for row in rows
            },
        )


def _solved(cell: Cell) -> str:
    return f"{sum(cell.solved.values())}/{len(cell.runs)}"


def _row(cell: Cell, times: Sequence[int], colour: str) -> dict[str, Any]:
    return {
        "id": f"{cell.dataset}-{cell.encoding}",
        "dataset": cell.dataset,
        "encoding": cell.encoding,
        "colour": colour,
        "numbers": [
            (f"{cell.rate:g}", cell.rate),
            (_solved(cell), sum(cell.solved.values())),
            (f"{cell.mean_steps:,.0f}", cell.mean_steps),
        ],
        "skill": [_skill(list(cell.skill(n).values())) for n in times],
    }


def _skill(values: Sequence[float]) -> dict[str, Any]:
    if not values:
        return {"mean": "", "text": NONE, "seeds": [], "span": ""}
    mean = sum(values) / len(values)
    ends = f"{fixed(min(values), 2)} to {fixed(max(values), 2)}"
    return {"mean": mean, "text": fixed(mean, 2), "seeds": [fixed(each, 2) for each in values], "span": ends}
