"""Every number of docs/answers/discussion.md is that of the ledger or of the benchmark."""

import json
import re
from pathlib import Path
from statistics import fmean

import pytest

from posenc.answers.cells import Cell, cells
from posenc.answers.judged import judged
from posenc.report.words import fixed

DOCS = Path(__file__).parents[2] / "docs"
SAID = re.compile(r"`([\w@-]+)` has (−?\.\d\d|1\.00) of `(\w+)` at (\d)×")


@pytest.fixture(scope="module")
def found() -> dict[tuple[str, str], Cell]:
    return {(cell.dataset, cell.encoding): cell for cell in judged(cells(DOCS / "answers" / "runs.csv"))}


@pytest.fixture(scope="module")
def text() -> str:
    return " ".join((DOCS / "answers" / "discussion.md").read_text().split())


def mean(cell: Cell, times: int) -> float:
    return fmean(cell.skill(times).values())


def test_every_skill_is_the_mean_of_its_cell(found: dict[tuple[str, str], Cell], text: str) -> None:
    said = SAID.findall(text)
    assert len(said) > 30
    for encoding, skill, dataset, times in said:
        expected = fixed(mean(found[dataset, encoding], int(times)), 2).replace("0.", ".")
        assert skill == expected, f"{encoding} on {dataset} at {times}x"
    others = SAID.sub("", text.partition("## What it costs")[0] + text.partition("## What published")[2])
    assert not re.search(r"(?<![\d/])\.\d|\d\.\d\d(?!\d)", others)  # no number escapes the test


def test_the_sentences_about_seeds_and_the_best(found: dict[tuple[str, str], Cell], text: str) -> None:
    solved = {key: sum(cell.solved.values()) for key, cell in found.items()}
    assert f"{solved['rel_pattern', 'fire']} of 10 seeds solve `rel_pattern`" in text
    for dataset in ("flip_flop", "induction"):
        assert f"{solved[dataset, 'none']} of 10 seeds solve `{dataset}`" in text
    assert f"{solved['first_of', 'learned_absolute@randomized']} of 10 seeds solve `first_of`" in text
    assert {n for (dataset, _), n in solved.items() if dataset == "multi_query_recall"} == {10}
    assert {key for key, n in solved.items() if key[0] == "reverse_string" and n == 10} == {
        ("reverse_string", "learned_absolute")
    }
    for dataset, times, best in (("reverse_string", 2, ["alibi"]), ("flip_flop", 8, ["forgetting", "dape"])):
        ranked = sorted(found, key=lambda key: -mean(found[key], times) if key[0] == dataset else 0)
        assert [encoding for _, encoding in ranked[: len(best)]] == best


def test_the_costs_are_those_of_the_benchmark(found: dict[tuple[str, str], Cell]) -> None:
    sections = json.loads((DOCS / "results" / "performance" / "encodings.json").read_text())["sections"]
    timed = {(row["contestant"], row["batch"], row["length"]): row for row in sections["encodings"]["rows"]}
    rows = re.findall(r"^[|] (\w+) [|] ([\d,]+) [|] (.*) [|]$", (DOCS / "answers" / "discussion.md").read_text(), re.M)
    assert {name for name, *_ in rows} <= {encoding for _, encoding in found}
    assert len(rows) >= 8
    for name, parameters, ratios in rows:
        short, long = timed[name, 32, 32], timed[name, 2, 512]
        assert ratios == f"{short['ratio']:.2f} | {long['ratio']:.2f} | {long['saved_ratio']:.2f}"
        assert parameters == f"{found['induction', name].parameters or 0:,.0f}"
