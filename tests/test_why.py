"""The opening of an analysis: what differs most is what the tables of both say."""

import json
import shutil
import sys
from functools import partial
from pathlib import Path

import pytest

from posenc.__main__ import main
from posenc.analysis.findings import findings
from posenc.analysis.measure import analyse
from posenc.analysis.why import SMALL, changes, failing, sentences
from posenc.checks import ConfigError
from posenc.figures import style
from posenc.trained.load import load
from tests.test_analyze import BATCH, SHORT, TINY, launch, train

CHEAP = partial(analyse, batch=BATCH, steps=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of train.py that is said to have learned its task at length 21 and to fail at 24."""
    folder = tmp_path_factory.mktemp("runs") / "learned"
    with pytest.MonkeyPatch.context() as patch:
        words = ["train.py", "encoding=learned_relative", *SHORT, *TINY, f"hydra.run.dir={folder}"]
        patch.setattr(sys, "argv", words)
        launch(train.main, train.CONFIGS)
    edit(folder, {"21": 0.9, "24": 0.1})
    return folder


def edit(folder: Path, skills: dict[str, float]) -> None:
    result = json.loads((folder / "result.json").read_text())
    for n, skill in skills.items():
        result["test"][n]["skill"] = skill
    (folder / "result.json").write_text(json.dumps(result))


@pytest.mark.parametrize(
    ("skills", "first"),
    [
        ({"21": 0.9, "24": 0.4, "48": 0.0}, 24), ({"21": 0.9, "24": 0.6, "48": 0.0}, 48),
        ({"21": 0.4, "24": 0.3}, None), ({"21": 0.9, "24": 0.9}, None), ({"24": 0.1}, None),
    ],
)  # fmt: skip
def test_where_a_run_fails_that_has_learned_its_task(skills: dict[str, float], first: int | None) -> None:
    assert failing({"test": {n: {"skill": skill} for n, skill in skills.items()}}, trained=21) == first


def test_changes_are_those_of_the_two_tables_the_largest_first(run: Path) -> None:
    finished = load(run)
    before, after = CHEAP(finished, 21), CHEAP(finished, 24)
    found = changes(before, after)
    assert [change.size for change in found] == sorted((change.size for change in found), reverse=True)
    assert len({change.measure.quantity for change in found}) == len(found) >= 6
    for change in found:
        quantity = change.measure.quantity
        sizes = [
            abs(after.row(quantity, arm)[layer] - value)
            for arm in before.found.arms(quantity)
            if arm.startswith("head ")
            or (quantity, arm) in (("variance_share", "position"), ("probe_accuracy", "linear"))
            for layer, value in before.row(quantity, arm).items()
        ]
        assert change.size == pytest.approx(max(sizes))
    assert changes(before, before)[0].size == 0
    assert f"differs by {SMALL:g} or more" in list(sentences(before, before))[1]


@pytest.mark.slow
def test_an_analysis_opens_with_where_the_run_fails(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(style, "DPI", 30)
    monkeypatch.setattr(sys.modules["posenc.analysis.write"], "analyse", partial(analyse, steps=2))
    main(["analyze", str(run), f"--output={tmp_path / 'one'}", f"--batch={BATCH}"])
    said = capsys.readouterr().out.splitlines()
    opening = "learned_relative has skill 0.90 at length 21 (trained); learned_relative has skill 0.10 at length 24 "
    assert said[2] == opening + "(trained to 21)."
    other = Path(shutil.copytree(run, tmp_path / "other"))
    edit(other, {"21": 0.3})
    main(["analyze", str(run), f"--output={tmp_path / 'two'}", f"--batch={BATCH}", f"--against={other}"])
    assert "has skill 0.30 at length 21 (trained); learned_relative has skill 0.90" in capsys.readouterr().out
    edit(run, {"24": 0.8})
    main(["analyze", str(run), f"--output={tmp_path / 'one'}", f"--batch={BATCH}"])
    assert "It fails at no tested length, to 24: skill 0.80 or more." in capsys.readouterr().out


def test_a_run_of_another_task_is_not_compared(run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "other"))
    result = json.loads((other / "result.json").read_text())
    (other / "result.json").write_text(json.dumps(result | {"dataset": "sorting"}))
    with pytest.raises(ConfigError, match=r"is a run on sorting, .* on distance; give one on distance"):
        sys.modules["posenc.analysis.write"].write(run, tmp_path / "out", against=other)
    assert not (tmp_path / "out").exists()


def test_titles_say_what_the_table_says(run: Path) -> None:
    analysis = CHEAP(load(run), 21)
    said = findings(analysis)
    assert "-0%" not in "".join(said.values())
    entropy = [
        sum(analysis.row("attention_entropy", f"head {head}")[layer] for head in range(analysis.heads)) / analysis.heads
        for layer in (1, 2)
    ]
    assert (
        f"layer {1 + entropy.index(min(entropy))}: mean entropy {min(entropy):.2f}"
        in said["heads"]
        == said["attention"]
    )
    likeness = [value for layer in (1, 2) for value in analysis.pairs_of_heads(layer).values()]
    assert f"(cosine {max(likeness):.2f})" in said["similarity"]
    heads = [(layer, head) for layer in (1, 2) for head in range(analysis.heads)]
    curves = {place: analysis.row("bias", "layer {} head {}".format(*place)) for place in heads}
    spans = {place: max(curve.values()) - min(curve.values()) for place, curve in curves.items()}
    widest = max(spans, key=lambda place: spans[place])
    top = max(curves[widest], key=lambda distance: curves[widest][distance])
    assert f"spans {spans[widest]:.2f} logits in layer {widest[0]} head {widest[1]}, the widest" in said["bias"]
    assert said["bias"].endswith(f"at distance {top:g}".replace("-", "−"))
