"""A saved table gives the same report as its runs, and each damage to it costs no more than one sentence."""

import csv
import io
import json
import random
from pathlib import Path

import pytest

from posenc.checks import ConfigError
from posenc.report import write
from posenc.report.numbers.compare import Comparison, compare
from posenc.report.reading.saved import TABLE_COLUMNS, read_table
from tests.report.conftest import Make


@pytest.fixture
def table(run: Make, root: Path) -> Path:
    """The table of a sweep with every kind of run: two settings, lost runs, another budget, bits, undefined lengths."""
    generator = random.Random(0)
    for seed in range(6):
        for place, encoding in enumerate(("none", "rope", "=t5")):
            if (encoding, seed) == ("rope", 5):
                run(encoding, seed, status="diverged", error="loss is nan, at step 7")
            else:
                scores = {32: 0.3 * place + generator.gauss(0, 0.01), 64: 0.1 * place}
                run(encoding, seed, scores, undefined={"128": "holds 64 positions"})
            run(encoding, seed, dataset="text", bits=3.0 - place + generator.gauss(0, 0.01))
        for layers in (2, 4):
            more = {"model.num_layers": layers, "dataset.test_lengths": [32, 64]}
            run("rope", seed, 0.2 * layers + 0.01 * seed, dataset="sorting", name=f"{layers}", config=more)
    run("fire", 0, 0.9, config={"trainer.max_steps": 5000})
    (run("none", 7, 0.2) / "result.json").unlink()
    (root / "report").mkdir()
    path = root / "report" / "comparison_summary.csv"
    path.write_text(compare([root], None, 0.01).long.to_csv(index=False))
    return path


def read_rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def told(comparison: Comparison) -> dict[str, object]:
    """The content of a report, without the notes on how the runs were read."""
    return {
        "first": comparison.first,
        "findings": comparison.findings,
        "rows": [
            (row.facet.title, row.arm, row.score, row.success, row.aulc, row.lost, row.speed) for row in comparison.rows
        ],
        "contrasts": [
            (one.facet.title, one.arm, one.metric, one.pair, one.improvement) for one in comparison.contrasts
        ],
        "across": comparison.across,
        "lost": sorted(comparison.lost, key=str),
        "ceilings": [(facet.title, facet.ceilings, facet.trained) for facet in comparison.facets],
        "versions": comparison.versions,
    }


def test_a_table_says_what_its_runs_say(table: Path, root: Path) -> None:
    ours, theirs = compare([root], None, 0.01), compare([table], "none", 0.01)
    assert told(ours) == told(theirs)
    assert theirs.learning == []
    assert "without learning curves" in theirs.notes[0].text
    assert theirs.long.to_csv(index=False) == ours.long.to_csv(index=False) == table.read_text()


@pytest.mark.slow
def test_a_run_that_repeats_one_of_the_table_counts_once_and_one_that_contradicts_it_is_refused(
    table: Path, run: Make, root: Path
) -> None:
    same = run("rope", 0, {32: 0.5}, dataset="fresh", sweep="again")
    both = compare([table, root / "sweep"], None, 0.01)
    alone = compare([root / "sweep"], None, 0.01)
    repeated = sum(item.run.status != "unfinished" for item in alone.placed)
    assert sum("counted once" in note.text for note in both.notes) == repeated
    assert told(both)["rows"] == told(alone)["rows"]
    assert any(row.facet.dataset == "fresh" for row in compare([table, same], None, 0.01).rows)
    other = run("none", 0, 0.9, sweep="other", config_hash="another")
    refused = compare([table, other], None, 0.01)
    assert any("refused" in note.text for note in refused.notes)


def test_a_table_of_an_older_layout_names_its_arms_itself(table: Path, tmp_path: Path) -> None:
    rows = read_rows(table)
    old = tmp_path / "old.csv"
    with old.open("w") as file:
        writer = csv.DictWriter(file, TABLE_COLUMNS[:-1], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    ours, theirs = compare([table], None, 0.01), compare([old], "none", 0.01)
    assert "older layout, without the configs" in theirs.notes[0].text
    arms = {(facet.dataset, arm) for facet in ours.facets for arm in facet.arms}
    assert {(facet.dataset, arm) for facet in theirs.facets for arm in facet.arms} == arms
    assert ("sorting", "rope (model.num_layers=4)") in arms
    assert [one.kind for one in theirs.findings] == [one.kind for one in ours.findings]


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_without_an_output_a_table_alone_is_refused(table: Path, tmp_path: Path) -> None:
    before = table.read_bytes()
    with pytest.raises(ConfigError, match="is a table: give --output"):
        write([table])
    assert table.read_bytes() == before
    assert write([table], tmp_path / "new").page.exists()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: "", "has no column folder"),
        (lambda text: "a,b\n1,2\n", r"^\S+ is no table of a report: it has no column folder"),
        (lambda text: text[: len(text) // 2].rstrip(",0"), "is damaged: row|cannot be read"),
        (lambda text: text.replace(",6", ',"6', 1), "is damaged|cannot be read"),
        (lambda text: text.splitlines()[0] + "\n", "the table is empty"),
    ],
)
def test_a_damaged_table_is_one_sentence(table: Path, damage, said: str) -> None:
    table.write_text(damage(table.read_text()))
    with pytest.raises(ConfigError, match=said):
        compare([table], None, 0.01)


def test_cells_that_mean_nothing_cost_their_run_or_themselves(table: Path) -> None:
    rows = read_rows(table)
    rows[0]["seed"], rows[3]["status"] = "seven", "exploded"
    for row in rows[5:]:
        row["record"] = json.dumps({"config": {"model": 1, "model.dim": 2}, "versions": [1], "sweep_command": 5})
        row["skill"] = "high"
        row["steps"] = "1e999"
    with table.open("w") as file:
        writer = csv.DictWriter(file, TABLE_COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    runs, notes = read_table(table)
    assert runs
    assert sum("left out" in note.text for note in notes) == 2
    compare([table], None, 0.01)
