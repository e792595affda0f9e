"""`python -m posenc evaluate`: trained runs, tested under other conditions and left as they are."""

import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

import posenc
import train
from posenc.__main__ import main
from posenc.config.build import build_module
from posenc.config.make import make
from posenc.encodings.rope_yarn import YarnRotaryPositionalEncoding
from posenc.jobs import evaluate
from posenc.jobs.launch import launch
from posenc.report.numbers.compare import compare
from posenc.report.reading import ledger
from posenc.tasks.base import Task
from posenc.tasks.state import FlipFlopDataset
from posenc.trained.evaluate import Evaluation
from posenc.trained.load import record_of_run
from posenc.training.checkpoints import load_weights
from posenc.training.evaluation.sets import evaluation_set
from tests.conftest import ROOT

TINY = (
    "dataset=flip_flop", "dataset.length=8", "dataset.test_lengths=[8,16]", "encoding=rope", "encoding.base=500",
    "model.dim=16", "model.num_heads=2", "model.num_layers=1", "data.batch_size=8", "data.eval_size=64",
    "data.eval_error=null", "trainer.max_steps=5", "trainer.validate_every=5", "trainer.log_every=5",
    "trainer.precision=32-true", "callbacks=quiet", "~logger",
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of train.py, of seed 0 and 1."""
    root = tmp_path_factory.mktemp("trained")
    for seed in (0, 1):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["train.py", *TINY, f"seed={seed}", f"hydra.run.dir={root}/run{seed}"])
            launch(train.main, train.CONFIGS)
    return root


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    """A copy of both, to evaluate and to break."""
    return Path(shutil.copytree(trained, tmp_path / "runs"))


def result(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one sentence or two with which a command ends."""
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", *map(str, words)])
    text = capsys.readouterr().err
    assert stop.value.code == 2
    assert text.startswith("error: ")
    assert text.count("\n") == 1
    return text


def by_hand(run: Path, task: Task, length: int, scaled: Any = None) -> tuple[float, float]:
    """Accuracy and loss of a run's encoder on a test set, under another encoding if one is given."""
    encoder = posenc.load(run)
    if scaled is not None:
        encoder.encodings[0] = scaled
    tokens, targets = evaluation_set(task, "test", length, 64)
    with torch.no_grad():
        logits = encoder(tokens)
    asked = targets != -100
    right = (logits.argmax(-1) == targets)[asked].double().mean()
    return float(right), float(torch.nn.functional.cross_entropy(logits[asked], targets[asked]))


@pytest.mark.slow
def test_a_repetition_gives_the_runs_own_numbers_and_leaves_it_alone(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(runs)
    main(["evaluate", str(runs / "run0")])
    said, folder = capsys.readouterr().out, runs / "evaluations" / "run0" / "as_trained"
    assert {path: path.read_bytes() for path in before} == before
    ours, theirs = result(folder), result(runs / "run0")
    for key in ("test", "undefined", "ceilings", "references", "length_generalization", "precision", "seed", "steps"):
        assert ours[key] == theirs[key], key
    assert (folder / "by_position.csv").read_bytes() == (runs / "run0" / "by_position.csv").read_bytes()
    assert (ours["evaluated"]["run"], ours["evaluated"]["changes"]) == (str(runs / "run0"), {})
    assert ours["config_hash"] != theirs["config_hash"]
    assert "nothing was trained" in said
    assert f"posenc report {runs / 'evaluations'}" in said
    done = files(runs)
    monkeypatch.setattr(evaluate, "build", None)  # what is finished is not built again
    main(["evaluate", str(runs / "run0")])
    assert files(runs) == done


@pytest.mark.slow
def test_scores_are_those_of_the_weights_under_the_change(runs: Path) -> None:
    """Computed again from the logits alone; YaRN's length is the one that was trained, at every test length."""
    main([
        "evaluate", str(runs / "run0"), "--lengths=8,32",
        "--set", "encoding=rope_yarn", "encoding.factor=8", "dataset.p_ignore=0.5,0.9",
    ])  # fmt: skip
    yarn = YarnRotaryPositionalEncoding(16, 2, original_length=8, factor=8, base=500)
    for p in (0.5, 0.9):
        name = f"encoding=rope_yarn_encoding.factor=8_dataset.p_ignore={p}_lengths=8-32"
        found = result(runs / "evaluations" / "run0" / name)
        assert found["evaluated"]["changes"]["encoding.factor"] == [None, 8]
        assert (found["trained_lengths"], found["trained_tokens"]) == ([8, 8], 8)
        for length in (8, 32):
            accuracy, loss = by_hand(runs / "run0", FlipFlopDataset(length=8, p_ignore=p), length, yarn)
            assert found["test"][str(length)]["accuracy"] == pytest.approx(accuracy, abs=1e-6)
            assert found["test"][str(length)]["loss"] == pytest.approx(loss, abs=1e-5)


def test_a_run_of_before_is_evaluated_in_the_precision_that_it_recorded(tmp_path: Path) -> None:
    folder = Path(
        shutil.copytree(ROOT / "tests" / "former" / "sweep" / "majority" / "rope" / "seed0", tmp_path / "run")
    )
    each = Evaluation(record_of_run(folder))
    assert each.run.config.trainer.precision == "auto"
    assert (each.config.trainer.precision, each.changes) == ("32-true", {})
    main(["evaluate", str(folder)])
    ours, theirs = (result(each)["test"]["8"] for each in (tmp_path / "evaluations" / "run" / "as_trained", folder))
    for key in ("accuracy", "loss", "sequences"):
        assert ours[key] == pytest.approx(theirs[key], abs=1e-6)  # of another machine


@pytest.mark.slow
def test_an_evaluation_of_other_weights_is_made_anew(runs: Path) -> None:
    main(["evaluate", str(runs / "run0")])
    path = runs / "run0" / "checkpoints" / "last.ckpt"
    state = torch.load(path, weights_only=True)
    state["state_dict"]["encoder.head.weight"] *= -1
    torch.save(state, path)
    main(["evaluate", str(runs / "run0")])
    found = result(runs / "evaluations" / "run0" / "as_trained")
    task = FlipFlopDataset(length=8)
    assert found["test"]["8"]["accuracy"] == pytest.approx(by_hand(runs / "run0", task, 8)[0], abs=1e-6)
    assert found["test"] != result(runs / "run0")["test"]


@pytest.mark.slow
def test_evaluations_are_arms_of_their_own(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["evaluate", f"{runs}/run*", "--set", "encoding=rope,rope_linear"])
    table, counted = runs.parent / "comparison_summary.csv", []
    table.write_text(compare([runs], None, 0.01).long.to_csv(index=False))
    for root in (runs, table):  # a table stands for its runs
        comparison = compare([root], None, 0.01)
        (facet,) = comparison.facets
        counted = sorted((item.arm, item.run.seed) for item in facet.members if item.counted)
        arms = ["rope", "rope (evaluated=rope)", "rope_linear (evaluated=rope)"]
        assert counted == [(arm, seed) for arm in arms for seed in (0, 1)]
        (note,) = (note for note in comparison.notes if note.folder.startswith("rope_linear"))
        assert "evaluated only, nothing was trained: the weights are those of" in note.text
        assert f"{runs / 'run0'} (trained as rope)" in note.text
        assert not comparison.lost
    (runs / "evaluations" / "run0" / "encoding=rope" / ".hydra" / "config.yaml").unlink()
    (facet,) = compare([runs], None, 0.01).facets
    kept = sorted((item.arm, item.run.seed) for item in facet.members if item.counted)
    assert kept == counted  # one that has lost its config joins no arm of trained runs
    change = ledger.add(runs / "ledger.csv", [runs])
    assert {run.folder.name for run in change.added} == {"run0", "run1"}
    assert "a ledger holds runs that were trained" in change.notes[0].text
    capsys.readouterr()
    here = runs / "evaluations" / "run1" / "encoding=rope"
    assert "is an evaluation, which has no weights; give the run" in refusal(capsys, here)


def test_a_sweep_names_its_completed_runs(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = result(runs / "run1")
    (runs / "run1" / "result.json").write_text(json.dumps(record | {"status": "failed", "error": "no room"}))
    main(["evaluate", str(runs)])
    main(["evaluate", *map(str, runs.iterdir())])  # a shell's runs/*, with evaluations among them
    assert "1 run did not complete" in capsys.readouterr().out
    assert [path.name for path in (runs / "evaluations").iterdir()] == ["run0"]
    assert "only completed runs can be loaded" in refusal(capsys, runs / "run1")
    assert "is not a folder" in refusal(capsys, runs / "nothing*")


REFUSED: tuple[tuple[tuple[str, ...], str], ...] = (
    (("encoding=t5",), "encoding=t5: .*run0 has no parameters encoder.encodings.0.*An evaluation changes no"),
    (("model.mlp_ratio=2",), r"has encoder.blocks.0\S* of shape \(64,\), but this config needs \(32,\)"),
    (("model.norm=none",), "has parameters encoder.*norm.*, which this config does not use"),
    (("dataset=parity", "dataset.length=8"), "dataset.length=8: an evaluation cannot change the trained length"),
    (("dataset=induction",), r"dataset=induction: .* has \d+ tokens, but .*run0 was trained on 5; choose a task"),
    (("optimizer.lr=1",), "optimizer.lr is read by training alone, and an evaluation trains nothing; leave it out"),
    (("seed=3",), "seed is read by training alone"),
    (("model.dropout=0.5",), "model.dropout is read by training alone"),
    (("trainer.max_steps=3",), "trainer.max_steps is read by training alone"),
    (("model=encoder",), "can choose another option only of dataset, encoding, positions"),
    (("encodin=rope",), "encodin is a key that nothing reads; leave it out. Did you mean encoding"),
    (("~encoding",), "deletes a key, but an evaluation can only change values"),
    (("encoding=rop",), "encoding=rop does not exist; the options are"),
    (("encoding.facto=3",), "encoding.facto does not exist: the options are"),
    (("encoding._target_=os.system",), "the record names _target_=os.system"),
    (("encoding.base=x",), "base must be a number"),
    (("encoding=",), "encoding"),
    (("dataset.test_lengths=[8]", "--lengths=8"), "both set the test lengths; leave one out"),
    (("model.causal=false",), "reads the answers in later tokens"),
)


@pytest.mark.parametrize(("words", "expected"), REFUSED, ids=[" ".join(words) for words, _ in REFUSED])
def test_what_cannot_be_evaluated_is_answered_in_words(
    words: tuple[str, ...], expected: str, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refusal(capsys, trained / "run0", "--set", *words)
    assert re.search(expected, said), said
    assert not (trained / "evaluations").exists()


def test_lengths_that_are_none_are_answered_in_words(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--lengths must be whole numbers and commas, got '8,x'" in refusal(capsys, trained / "run0", "--lengths=8,x")
    assert "each of --lengths must be a whole number ≥ 1, got 0" in refusal(capsys, trained / "run0", "--lengths=0")


def spoil_trainer(run: Path) -> None:
    config = OmegaConf.load(run / ".hydra" / "config.yaml")
    config.data = {"_target_": "os.system", "command": "true"}
    OmegaConf.save(config, run / ".hydra" / "config.yaml")


SPOILED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no checkpoint": (lambda run: shutil.rmtree(run / "checkpoints"), "has neither checkpoints/last.ckpt nor"),
    "no config": (lambda run: shutil.rmtree(run / ".hydra"), "lacks .hydra/config.yaml"),
    "no result": (lambda run: (run / "result.json").unlink(), "has no result.json"),
    "code": (spoil_trainer, "the record names _target_=os.system"),
    "in the way": (
        lambda run: shutil.copytree(run, run.parent / "evaluations" / "run0" / "as_trained"),
        "is no evaluation, and its content would be overwritten",
    ),
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_run_that_cannot_be_evaluated_is_answered_in_words(
    how: str, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, expected = SPOILED[how]
    spoil(runs / "run0")
    before = files(runs)
    assert expected in refusal(capsys, runs / "run0")
    assert files(runs) == before


@pytest.mark.parametrize("number", range(3), ids=["yarn", "drope", "stages"])
def test_the_recipes_of_the_page_take_the_weights_of_a_run(
    number: int, composed: Callable[..., DictConfig], trained: Path
) -> None:
    """Those of a tiny run here, in the place of one on text; YaRN's length is the one that was trained."""
    page = (ROOT / "docs" / "evaluate.md").read_text().replace("\\\n", " ")
    recipe = re.findall(r"^python train\.py start_from=\$short (.*)$", page, re.MULTILINE)[number]
    words = [word for word in shlex.split(recipe) if not word.startswith("name=")]
    assert composed(*words).trainer.max_steps == 200
    path = trained / "run0" / "checkpoints" / "last.ckpt"
    own = [word for word in words if word.startswith("encoding")]
    config = composed(*TINY[:4], *TINY[5:], *own, f"start_from={path}", "dataset.length=64")
    module = build_module(config, make(config, "dataset"))
    load_weights(str(path), module)
    assert torch.equal(module.encoder.head.weight, posenc.load(trained / "run0").head.weight)
    assert getattr(module.encoder.encoding(0), "original_length", 8) == 8
