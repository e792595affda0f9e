"""A damaged, foreign or old folder is left out with one sentence, and changes nothing else."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from posenc.checks import ConfigError
from posenc.report.numbers.compare import Comparison, compare
from posenc.report.write import SUMMARY, write
from posenc.runs.sweep_journal import Journal
from tests.report.conftest import Make


def read(root: Path, baseline: str | None = None) -> Comparison:
    return compare([root], baseline, 0.01)


def notes(comparison: Comparison) -> str:
    return "\n".join(f"{note.folder}: {note.text}" for note in comparison.notes)


@pytest.fixture
def two(run: Make) -> None:
    """A comparison that a damaged folder must not change."""
    for seed in range(5):
        run("none", seed, 0.1 + 0.01 * seed)
        run("rope", seed, 0.8 + 0.02 * seed)


def test_no_run_folders_is_a_mistake_that_says_what_to_do(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"no run of posenc in .*train\.py -m"):
        read(root)
    with pytest.raises(ConfigError, match="is not a folder"):
        read(root / "nowhere")


@pytest.mark.usefixtures("two")
def test_folders_of_another_project_are_counted_and_left_out(root: Path) -> None:
    for name, text in (("a", '{"loss": 1}'), ("b", "[1, 2]"), ("c", "null")):
        (root / "other" / name).mkdir(parents=True)
        (root / "other" / name / "result.json").write_text(text)
    (root / "other" / "d").mkdir()
    (root / "other" / "d" / "metrics.csv").write_text("step,loss\n0,1\n")
    comparison = read(root)
    assert "4 folders of another project" in notes(comparison)
    assert len(comparison.placed) == 10


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            lambda text: text[: len(text) // 2],
            "result.json is not JSON, so the run is left out; copy it again, or repeat the run's command.",
        ),
        (lambda text: "", "is not JSON"),
        (lambda text: text.replace('"seed": 7', '"seed": "seven"'), "not a whole number"),
        (lambda text: text.replace('"dataset"', '"data_set"'), "does not say dataset"),
        (lambda text: text.replace('"completed"', '"exploded"'), "unknown status exploded"),
    ],
)
def test_a_damaged_result_is_named(run: Make, root: Path, damage, said: str) -> None:
    path = run("rope", 7, 0.9) / "result.json"
    path.write_text(damage(path.read_text()))
    comparison = read(root)
    assert said in notes(comparison)
    assert str(path.parent) in notes(comparison)
    assert comparison.facets[0].values("rope").keys() == set(range(5))


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("text", ["", "a\x00b", "step,train/loss\n1,2,3,4\n1,2\n", "epoch,foo\n1,2\n"])
def test_a_damaged_curve_costs_itself_only(run: Make, root: Path, text: str) -> None:
    folder = run("rope", 7, 0.9)
    (folder / "metrics.csv").write_text(text)
    comparison = read(root)
    assert 7 in comparison.facets[0].values("rope")
    drawn = {seed for _, _, _, lines in comparison.learning for line in lines for seed in line.seeds}
    assert drawn == set(range(5))


def test_a_truncated_curve_loses_its_last_row(run: Make, root: Path) -> None:
    path = run("rope", 0, 0.9) / "metrics.csv"
    path.write_text("step,train/loss\n0,1.0\n10,0.5\n20,0.2512")
    comparison = read(root)
    assert "ends within a line" in notes(comparison)
    (_, _, _, lines), *_ = [one for one in comparison.learning if one[0] == "training"]
    assert lines[0].seeds[0] == ([0.0, 10.0], [1.0, 0.5])


def test_what_a_result_lacks_is_read_from_its_config(run: Make, root: Path) -> None:
    absent = dict.fromkeys(("trained_lengths", "command", "length_generalization", "positions"), "absent")
    for seed in range(3):
        run("rope", seed, 0.9, **absent)
    comparison = read(root)
    (facet,) = comparison.facets
    assert facet.trained == (8, 32)  # from the config
    assert facet.values("rope") == dict.fromkeys(range(3), 0.9)
    assert "encoding=rope" in comparison.placed[0].run.command
    assert "model.num_layers=2" in comparison.placed[0].run.command


@pytest.mark.parametrize("schema", [1, 3, 99, "absent", True, "2"])
def test_a_result_of_another_layout_is_left_out_and_named(run: Make, root: Path, schema: Any) -> None:
    run("rope", 0, 0.9)
    other = run("rope", 1, 0.9, schema=schema)
    comparison = read(root)
    assert comparison.facets[0].values("rope") == {0: 0.9}
    (note,) = [note for note in comparison.notes if str(other) in note.folder]
    assert re.search("does not say its layout|has layout [(]schema[)]", note.text), note.text


def test_numbers_that_are_none_are_no_scores(run: Make, root: Path) -> None:
    scores = {"accuracy": float("nan"), "bits": float("inf"), "skill": None}
    run("rope", 0, 0.9, test={"32": scores, "x": scores, "64": 3})
    comparison = read(root)
    assert comparison.facets[0].values("rope") == {}
    assert comparison.first.kind == "nothing"


def test_skill_follows_from_ceilings_where_it_is_absent(run: Make, root: Path) -> None:
    run("rope", 0, 0.9, test={"32": {"accuracy": 0.75}}, ceilings={"32": {"order_blind": 0.5, "order_aware": 1.0}})
    assert read(root).facets[0].values("rope", "skill", 32) == {0: 0.5}


def test_a_run_without_result_is_unfinished(run: Make, root: Path) -> None:
    run("none", 0, 0.1)
    (run("rope", 0, 0.9) / "result.json").unlink()
    comparison = read(root)
    (one,) = comparison.lost
    assert (one.arm, one.seed, one.status) == ("rope", 0, "unfinished")
    assert "killed" in one.why


def test_folders_that_overlap_count_once(run: Make, root: Path) -> None:
    run("rope", 0, 0.9)
    assert len(compare([root, root / "sweep", root / "."], None, 0.01).placed) == 1


def test_seeds_that_a_sweep_lacks_are_missing(run: Make, root: Path) -> None:
    for seed in range(3):
        run("none", seed, 0.1)
    run("rope", 0, 0.9)
    run("rope", 2, status="diverged", error="loss is nan")
    found = {(one.arm, one.seed, one.status) for one in read(root).lost}
    assert found == {("rope", 1, "missing"), ("rope", 2, "diverged")}


def test_the_command_of_a_sweep_comes_from_its_record(run: Make, root: Path) -> None:
    run("rope", 0, 0.9)
    record = {"hydra": {"overrides": {"task": ["encoding=none,rope"], "hydra": ["hydra.mode=MULTIRUN"]}}}
    (root / "sweep" / "multirun.yaml").write_text(json.dumps(record))
    assert list(read(root).commands.values()) == [("python train.py -m encoding=none,rope",)]


def test_every_command_of_a_folder_that_made_runs_is_shown(run: Make, root: Path) -> None:
    def sweep(name: str, words: list[str], *folders: Path) -> None:
        record = {"hydra": {"overrides": {"task": words, "hydra": ["hydra.mode=MULTIRUN"]}}}
        (root / "sweep" / "multirun.yaml").write_text(json.dumps(record))
        journal = Journal(root / "sweep" / ".sweeps" / name)
        journal.plan(len(folders), words)
        for number, folder in enumerate(folders):
            journal.note(number, "completed", folder=str(folder), skipped=False)
        journal.close()

    steps = {
        n: run("rope", 0, 0.9, name=str(n), config={"trainer.max_steps": n}, command=f"steps={n}") for n in (1, 2, 3)
    }
    sweep("a", ["trainer.max_steps=1"], steps[1])
    sweep("b", ["trainer.max_steps=2"], steps[2])
    sweep("c", ["trainer.max_steps=2,3"], steps[2], steps[3])  # it names the run of the second again
    damaged = ('{"jobs": 1}', '{"jobs": [], "overrides": [], "began": 1' + "0" * 400 + "}", '{"jobs": [{}]}', "[[]]")
    for number, text in enumerate(damaged):
        (root / "sweep" / ".sweeps" / f"{number}.json").write_text(text)
    said = [f"python train.py -m trainer.max_steps={values}" for values in ("1", "2,3")]
    comparison = read(root)
    assert [*comparison.commands.values()] == [tuple(said)]
    (root / "table.csv").write_text(comparison.long.to_csv(index=False))
    assert [*read(root / "table.csv").commands.values()] == [tuple(said)]
    page, _ = write([root])
    assert all(f"<pre>{command}</pre>" in page.read_text() for command in said)
    assert "\n".join(said) in (root / SUMMARY).read_text()
