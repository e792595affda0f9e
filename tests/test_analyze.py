"""The analysis of finished runs: what is written, and what bad input is answered."""

import json
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

import train
from posenc.__main__ import main
from posenc.analysis import figures
from posenc.analysis.measure import analyse
from posenc.figures import style
from posenc.jobs.launch import launch
from posenc.runs.writing import write_bytes
from posenc.statistics.measurements import Measurements

TINY = (
    "model.dim=16", "model.num_heads=2", "model.num_layers=2", "data.batch_size=8", "data.eval_size=64",
    "trainer.max_steps=5", "trainer.validate_every=5", "trainer.log_every=5", "callbacks=quiet", "~logger",
)  # fmt: skip
SHORT = ("dataset=distance", "dataset.length=21", "dataset.test_lengths=[21,24]")
BATCH = 6


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of train.py: `bias`, one answer a sequence, and `table`, one a token and positions that end at 40."""
    root = tmp_path_factory.mktemp("runs")
    for name, chosen in {
        "bias": ("encoding=learned_relative", *SHORT, "seed=3"),
        "table": ("encoding=learned_absolute", "encoding.max_length=40", "dataset=reverse", "dataset.length=8",
                  "dataset.test_lengths=[8]", "model.inject=input"),
    }.items():  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["train.py", *chosen, *TINY, f"hydra.run.dir={root / name}"])
            launch(train.main, train.CONFIGS)
    return root


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pictures, and an MLP probe that is hardly trained: test_probes.py holds what it must learn."""
    write = sys.modules["posenc.analysis.write"]
    monkeypatch.setattr(style, "DPI", 30)
    monkeypatch.setattr(write, "analyse", partial(analyse, steps=2))


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of a trained run, to break."""
    return Path(shutil.copytree(trained / "bias", tmp_path / "run"))


def refusal(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one sentence or two with which a command ends."""
    with pytest.raises(SystemExit) as stop:
        main(["analyze", *map(str, words)])
    text = capsys.readouterr()
    assert stop.value.code == 2
    assert text.err.startswith("error: ")
    assert text.err.count("\n") == 1
    assert "Traceback" not in text.err
    return text.err


@pytest.mark.slow
def test_two_runs_give_numbers_figures_and_text(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(
        [
            "analyze",
            str(trained / "bias"),
            str(trained / "table"),
            str(trained / "bias"),
            f"--output={tmp_path}",
            f"--batch={BATCH}",
        ]
    )
    said = capsys.readouterr().out
    for name, length, own in (("bias", 21, "bias"), ("table", 8, "position_vectors")):
        folder = tmp_path / name
        assert said.count(f"{folder}/analysis.csv") == 1  # a run that is named twice is analysed once
        names = {"streams", "probes", "heads", "similarity", "attention", own}
        expected = {f"{figure}.{ending}" for figure in names for ending in ("png", "svg")}
        assert {path.name for path in folder.iterdir()} == expected | {"analysis.csv", "analysis.md"}
        for figure in names:
            assert (folder / f"{figure}.png").read_bytes().startswith(b"\x89PNG")
            assert "<svg" in (folder / f"{figure}.svg").read_text()
        text = (folder / "analysis.md").read_text()
        assert text in said
        assert f"length {length}" in text
        found = Measurements.read((folder / "analysis.csv").read_text())
        assert found.sample("probe_accuracy", "linear", 2)
        seed = 3 if name == "bias" else 0
        assert all(row[3] == seed for row in found.rows())
    assert not (trained / "bias" / "analysis").exists()


@pytest.mark.slow
def test_an_analysis_is_replaced_by_its_own_files_only(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "draw", lambda analysis: figures.draw_encoding(analysis.encoding))  # one will do
    target = run / "analysis"
    target.mkdir()
    for name in ("notes.txt", "position_vectors.png", "analysis.md"):
        (target / name).write_text("mine")
    main(["analyze", str(run), f"--batch={BATCH}", "--length=22"])
    assert (target / "notes.txt").read_text() == "mine"
    assert not (target / "position_vectors.png").exists()  # of another model: this one adds no vectors
    assert (target / "analysis.md").read_text() != "mine"
    first = {path.name: path.read_bytes() for path in target.iterdir()}
    main(["analyze", str(run), f"--batch={BATCH}", "--length=22"])
    assert {path.name: path.read_bytes() for path in target.iterdir()} == first
    (target / "analysis.csv").write_text("a,b\n1,2\n")
    assert "is no file of an analysis, so it is not replaced" in refusal(capsys, run)


@pytest.mark.slow
def test_what_cannot_be_analysed_is_answered_in_words(
    run: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "is not a folder; give the folder of a run" in refusal(capsys, tmp_path / "nothing")
    assert f"give the folder of a run, such as {run}" in refusal(capsys, tmp_path)
    lost = tmp_path / "lost"
    lost.mkdir()
    (lost / "result.json").write_bytes((run / "result.json").read_bytes())
    assert "lacks .hydra/config.yaml, so the model cannot be rebuilt; put the file back" in refusal(capsys, lost)
    table = trained / "table"
    said = refusal(capsys, table, "--length=30")
    assert "not defined at --length 30" in said
    assert "holds 40 positions, got 6" in said
    assert "max_length" not in said  # which no longer can be set
    assert "length must be a whole number ≥ 2" in refusal(capsys, run, "--length=1")
    assert "has sequences of length ≥" in refusal(capsys, run, "--length=3")
    assert "--batch must be a whole number ≥ 1" in refusal(capsys, run, "--batch=0")
    for length in (200_000, 10**30):
        assert "error: " in refusal(capsys, run, f"--length={length}")
    assert "--length 200000: the attention of one sequence" in refusal(capsys, run, "--length=200000")
    for batch in (10**9, 10**30):
        assert "batch" in refusal(capsys, run, f"--batch={batch}")
    assert not (run / "analysis").exists()
    (tmp_path / "file").touch()
    assert "is a file, not a folder" in refusal(capsys, run, f"--output={tmp_path / 'file'}")
    assert "cannot be written" in refusal(capsys, run, f"--output={tmp_path / 'file' / 'below'}", f"--batch={BATCH}")
    assert not (table / "analysis").exists()


def test_too_little_memory_is_answered_in_words(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(sys.modules["posenc.analysis.observe"], "look", look)
    assert "do not fit into the memory" in refusal(capsys, run, "--length=24")
    assert not (run / "analysis").exists()


def spoil_status(run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps(result | {"status": "diverged", "error": "loss nan at step 4"}))


def spoil_weights(run: Path) -> None:
    for path in (run / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:100])


def spoil_architecture(run: Path) -> None:
    config = OmegaConf.load(run / ".hydra" / "config.yaml")
    config.model.num_layers = 3
    OmegaConf.save(config, run / ".hydra" / "config.yaml")


SPOILED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no checkpoint": (lambda run: shutil.rmtree(run / "checkpoints"), "has neither checkpoints/last.ckpt nor"),
    "broken checkpoint": (spoil_weights, "last.ckpt is not a whole checkpoint of posenc"),
    "another architecture": (spoil_architecture, "belongs to another architecture"),
    "no result": (lambda run: (run / "result.json").unlink(), "has no result.json: the run was killed"),
    "a cut result": (lambda run: (run / "result.json").write_text("{"), "is not JSON"),
    "diverged": (spoil_status, "did not complete (status diverged: loss nan at step 4)"),
    "no config": (lambda run: shutil.rmtree(run / ".hydra"), "lacks .hydra/config.yaml"),
    "no YAML": (lambda run: (run / ".hydra" / "config.yaml").write_text("a: [1"), "cannot be read"),
    "another project": (
        lambda run: (run / ".hydra" / "config.yaml").write_text("model:\n  _target_: other.Model\n"),
        "is a run of another project",
    ),
    "a group is missing": (
        lambda run: (run / ".hydra" / "config.yaml").write_text("model:\n  _target_: posenc.model.encoder.Encoder\n"),
        "lacks dataset, encoding, positions",
    ),
    "a study": (lambda run: (run / "study.json").write_text("{}"), "contains a study"),
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_spoiled_run_is_answered_in_words(how: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil, expected = SPOILED[how]
    spoil(run)
    assert expected in refusal(capsys, run)
    assert not (run / "analysis").exists()


def test_the_last_weights_are_read_or_else_the_best_or_the_previous(run: Path) -> None:
    from posenc.trained.load import load

    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    found = load(run)
    assert found.checkpoint == "last.ckpt"
    assert all(torch.equal(tensor, last[name]) for name, tensor in found.module.state_dict().items())
    (run / "checkpoints" / "last.ckpt").unlink()
    assert load(run).checkpoint == "best.ckpt"
    (run / "checkpoints" / "best.ckpt").rename(run / "checkpoints" / "previous.ckpt")
    assert load(run).checkpoint == "previous.ckpt"


@pytest.mark.slow
def test_a_run_with_only_its_previous_checkpoint_is_analysed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    last = run / "checkpoints" / "last.ckpt"
    last.replace(last.with_name("previous.ckpt"))
    last.with_name("best.ckpt").unlink()
    main(["analyze", str(run), f"--batch={BATCH}"])
    said = capsys.readouterr()
    assert f"{run} lacks checkpoints/last.ckpt" in said.err
    assert "checkpoints/previous.ckpt, which may be of an earlier step, are used instead" in said.err
    accuracy = json.loads((run / "result.json").read_text())["test"]["21"]["accuracy"]
    assert (
        "Weights of checkpoints/previous.ckpt, trained at length 21; test accuracy at this length of "
        f"checkpoints/last.ckpt, which is missing: {accuracy:.3f}."
    ) in said.out


def test_bytes_are_written_whole(tmp_path: Path) -> None:
    write_bytes(tmp_path / "new" / "file", b"\x00\xff")
    assert (tmp_path / "new" / "file").read_bytes() == b"\x00\xff"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]
