"""Runs as objects, without files, for tests of what the report concludes."""

from pathlib import Path
from typing import Any

from posenc.report.numbers import facets
from posenc.report.numbers.compare import Conclusions, conclude
from posenc.report.reading import arms
from posenc.report.reading.read import Run


def a_run(
    arm: str, seed: int, skills: dict[int, float], dataset: str = "d0", status: str = "completed", **more: Any
) -> Run:
    """One run with a skill at each length; any key of result.json can be given."""
    test = {n: {"skill": skill, "accuracy": 0.5 + skill / 2, "bits": 1 - skill} for n, skill in skills.items()}
    result = {
        "encoding": arm, "dataset": dataset, "seed": seed, "status": status, "error": None,
        "test": test if status == "completed" else {}, "trained_lengths": [8, 32], "steps": 1000, "schema": 2,
        "config_hash": f"{arm}{dataset}{seed}",
        "ceilings": {n: {"order_blind": 0.5, "order_aware": 1.0} for n in skills},
    }  # fmt: skip
    name = f"{dataset}/{arm}/seed{seed}"
    return Run(Path(name), Path("sweep"), result | more, None, name)


def concluded(runs: list[Run], delta: float = 0.01, baseline: str | None = None) -> Conclusions:
    """The conclusions of the report from these runs."""
    placed, _ = arms.place(runs)
    found = facets.facets(placed)
    chosen, _ = facets.choose_baseline(found, baseline)
    return conclude(found, chosen, delta)
