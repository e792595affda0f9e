"""The table of docs/performance.md that says what stopping costs follows from its runs."""

import csv
import re
from collections import defaultdict
from math import sqrt
from statistics import fmean, stdev

from scipy import stats

from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "performance.md").read_text().partition("### What does it cost to stop?")[2]
LENGTHS = ("16", "32", "64", "128")
WHOLE, STOPPED = "stop=none", "stop=solved"
"""The ends of the names of the runs' folders. The runs that stop are older than the name solved_95."""


def runs() -> list[dict[str, str]]:
    with (ROOT / "docs" / "results" / "stopping" / "comparison_summary.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def skills() -> dict[tuple[str, str, str, str], dict[int, float]]:
    """{(task, encoding, length, end): {seed: skill}}"""
    found = defaultdict[tuple[str, str, str, str], dict[int, float]](dict)
    for run in runs():
        end = run["folder"].rpartition("/")[2]
        found[run["dataset"], run["encoding"], run["length"], end][int(run["seed"])] = float(run["skill"])
    return found


def signed(value: float, digits: int = 3) -> str:
    """−.031, .002, 1.000"""
    text = f"{abs(value):.{digits}f}"
    shown = text.removeprefix("0")
    return f"−{shown}" if value < 0 and float(text) else shown


def cell(whole: dict[int, float], stopped: dict[int, float]) -> str:
    """The mean with the whole budget; the change by stopping with its 95 % t-interval."""
    assert [*whole] == [*stopped] == [*range(10)]
    changes = [stopped[seed] - skill for seed, skill in whole.items()]
    mean, half = fmean(changes), float(stats.t.ppf(0.975, 9)) * stdev(changes) / sqrt(10)
    return f"{signed(fmean(whole.values()))}; {signed(mean)} [{signed(mean - half)}, {signed(mean + half)}]"


def table() -> list[str]:
    found = skills()
    rows = sorted({(task, encoding) for task, encoding, _, _ in found})
    return [
        f"| `{task}` | `{encoding}` | "
        + " | ".join(cell(found[task, encoding, n, WHOLE], found[task, encoding, n, STOPPED]) for n in LENGTHS)
        + " |"
        for task, encoding in rows
    ]


def test_the_table_is_the_paired_differences_of_its_runs() -> None:
    assert len(rows := table()) == 6
    assert "\n".join(rows) in PAGE


def test_the_sentences_below_it_follow_from_its_runs() -> None:
    found = skills()
    (limit, most), *_ = re.findall(
        r"stopping may cost (\.\d+) of skill.*at most (\.\d+), so the limit holds", PAGE, re.S
    )
    costs = [fmean(found[at, of, "16", WHOLE].values()) - fmean(found[at, of, "16", STOPPED].values())
             for at, of in {(key[0], key[1]) for key in found}]  # fmt: skip
    assert f"{max(costs):.4f}" == f"0{most}"
    assert max(costs) <= float(limit)
    for end in (WHOLE, STOPPED):
        hours = (
            sum(float(run["seconds"]) for run in runs() if run["length"] == "16" and run["folder"].endswith(end)) / 3600
        )
        assert f"{hours:.1f} hours" in PAGE
        for n in ("64", "128"):
            assert fmean(found["induction", "t5", n, end].values()) > fmean(found["induction", "rope", n, end].values())
            assert fmean(found["rel_pattern", "rope", n, end].values()) > fmean(
                found["rel_pattern", "t5", n, end].values()
            )
