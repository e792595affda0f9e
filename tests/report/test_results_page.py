"""Numbers of docs/results/README.md follow from the tables beside it."""

import csv
import json
import re
from statistics import fmean

from tests.conftest import ROOT

RESULTS = ROOT / "docs" / "results"
LENGTHS = ["64", "128", "256", "512", "1024"]


def number(text: str) -> float:
    """The number of a text such as −.03."""
    return float(text.replace("−", "-"))


def test_the_table_of_copying_is_the_mean_of_its_runs() -> None:
    with (RESULTS / "copy_far" / "comparison_summary.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    text = (RESULTS / "README.md").read_text().partition("## Which encodings copy far?")[2]
    rows = re.findall(r"^\| `(.+?) \| (.+?) \| (\S+) \| (\d+|not solved) \|$", text, re.MULTILINE)
    assert len(rows) == len({row["arm"] for row in table})
    for name, means, whole, steps in rows:
        encoding, _, factor = name.replace("`", "").partition(" and ")
        runs = [row for row in table if row["arm"] == (f"{encoding} ({factor})" if factor else encoding)]
        at = {length: [row for row in runs if row["length"] == length] for length in LENGTHS}
        assert all(sorted(row["seed"] for row in here) == ["0", "1", "2", "3", "4"] for here in at.values())
        skills = [round(fmean(float(row["skill"]) for row in at[length]), 2) for length in LENGTHS]
        assert [number(mean) for mean in means.split(" | ")] == skills
        assert number(whole) == round(fmean(float(row["exact_match"]) for row in at["256"]), 2)
        stopped = [json.loads(row["record"]).get("stopped") for row in at["64"]]
        assert steps == ("not solved" if None in stopped else f"{fmean(stopped):.0f}")
