"""The matrix of all encodings and datasets: means where there are numbers, and nothing elsewhere."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from posenc.report import write
from posenc.report.numbers.compare import compare
from posenc.report.pages.matrix import draw, matrices, written
from tests.report.conftest import Make


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_cell_is_the_mean_over_seeds_at_its_length(run: Make, root: Path) -> None:
    for place, dataset in enumerate(("copy", "pattern", "sorting")):
        for k, encoding in enumerate(("none", "rope", "t5")):
            for seed in range(2):
                if (encoding, dataset) != ("t5", "sorting"):
                    skills = {32: 0.3 * k + 0.1 * seed, 64: 0.01 * place}
                    run(encoding, seed, skills, dataset=dataset)
    inside, past = matrices(compare([root], None, 0.01).scored)
    assert inside.columns == ["copy 32", "pattern 32", "sorting 32"]
    assert past.columns == ["copy 64", "pattern 64", "sorting 64"]
    row = dict(zip(inside.arms, inside.values, strict=True))
    assert row["rope"] == pytest.approx([0.35] * 3)
    assert row["t5"] == pytest.approx([0.65, 0.65, np.nan], nan_ok=True)
    assert past.values[inside.arms.index("none")] == pytest.approx([0, 0.01, 0.02])
    draw([inside, past], "").canvas.draw()
    table = pd.read_csv(write([root]).page.parent / "figures" / "matrix.csv")
    near = table[(table["encoding"] == "t5") & (table["panel"] == "at the trained length")]
    assert dict(zip(near["x"], near["y"], strict=True)) == pytest.approx({"copy 32": 0.65, "pattern 32": 0.65})


def test_rows_are_in_the_order_of_mean_skill(run: Make, root: Path) -> None:
    """By mean rank, `a` would be first: it is the best on four of five data sets, but fails on the fifth."""
    skills = {"a": (0.96,) * 4 + (0.0,), "b": (0.2,) * 5, "y": (0.5,) * 5, "z": (0.95,) * 5}
    for arm, values in skills.items():
        for dataset, skill in zip(("copy", "needle", "parity", "pattern", "sorting"), values, strict=True):
            run(arm, 0, {32: skill}, dataset=dataset)
    (found,) = matrices(compare([root], None, 0.01).scored)
    assert found.arms == ["z", "a", "y", "b"]


def test_a_dataset_without_longer_tests_is_not_shown_twice(run: Make, root: Path) -> None:
    for dataset in ("copy", "pattern", "sorting"):
        for encoding in ("none", "rope", "t5"):
            run(encoding, 0, {32: 0.5} if dataset == "copy" else {32: 0.5, 64: 0.1}, dataset=dataset)
    inside, past = matrices(compare([root], None, 0.01).scored)
    assert inside.columns == ["copy 32", "pattern 32", "sorting 32"]
    assert past.columns == ["pattern 64", "sorting 64"]
    draw([inside, past], "").canvas.draw()


def test_two_datasets_need_no_matrix(run: Make, root: Path) -> None:
    for dataset in ("copy", "pattern"):
        for encoding in ("none", "rope", "t5"):
            run(encoding, 0, 0.5, dataset=dataset)
    assert matrices(compare([root], None, 0.01).scored) == []


def test_numbers_in_cells_are_short() -> None:
    cells = {1.0: "1", 0.996: "1", 0.994: ".99", 0.5: ".50", -0.004: "0", 0.0: "0", -0.2: "−.20", -1.5: "−1.50"}
    assert {value: written(value) for value in cells} == cells
    assert written(float("nan")) == ""
