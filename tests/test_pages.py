"""Pages are not older than the code: studies whose numbers are no matter of luck are run again, small, and compared.

docs/studies/NAME.smoke.json holds the verdicts of profile=smoke for claims that rest on counts or on encoders before
training. `python -m tests.test_pages` writes them again after a change that is meant, and the page then has to be read.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from posenc.config.make import make
from posenc.statistics.claims import verdicts
from posenc.studies.method.base import Study
from posenc.studies.method.workers import Workers
from tests.conftest import CONFIGS

PAGES = Path(__file__).resolve().parents[1] / "docs" / "studies"
SMALL: dict[str, tuple[str, ...]] = {
    "quadratic_cost": ("~study.arms.rope", "~study.arms.alibi", "~study.arms.shaw", "~study.arms.window_of_16"),
    "rank_collapse": ("study.seeds=3", "study.batch=2", "study.gains=[1]", "study.skips=[1]"),
    "gradient_flow": (
        "study.seeds=3", "study.depths=[8,16]", "study.initialisations=[xavier,small]", "study.trainability=null",
        "study.length=8", "~study.arms.no_norm",
    ),
}  # fmt: skip
"""Studies and what makes them small; claims about training come out INVALID then, and stay so."""


def outcomes(name: str) -> dict[str, str]:
    """Statement to verdict of a small run in this process."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        words = (f"experiment={name}", "profile=smoke", "name=test", *SMALL[name])
        config = compose("train", overrides=[*words], return_hydra_config=True)
    study: Any = make(config, "study", Study)
    study.workers = Workers(1)
    return {verdict.statement: verdict.outcome for verdict in verdicts(study.claims, study.measure(0))}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_the_verdicts_of_a_page_are_those_of_this_tree(name: str) -> None:
    stored = json.loads((PAGES / f"{name}.smoke.json").read_text(encoding="utf-8"))
    assert outcomes(name) == stored, f"read docs/studies/{name}.md again, then run python -m tests.test_pages"


if __name__ == "__main__":
    for each in SMALL:
        text = json.dumps(outcomes(each), indent=2, ensure_ascii=False) + "\n"
        (PAGES / f"{each}.smoke.json").write_text(text, encoding="utf-8")
