"""Where runs of a sweep lie: names made of values are folders inside the sweep's folder."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posenc.jobs.launch import folder_name, run_folder
from posenc.tasks.parts import corpus
from tests.conftest import Launch
from tests.test_identity import S
from tests.test_training import result


@pytest.mark.slow
def test_names_made_of_values_stay_in_the_sweeps_folder_and_paths_count_from_where_it_was_started(
    command: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "a" / "b"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    for number, name in enumerate(("x", "y")):
        (tmp_path / name).write_text(f"the cat sat on the mat of {number}. " * 100)
    swept = f"dataset.path=../../x,{'/'.join(['.'] * 150)}/../../y"
    line = ("-m", "dataset=text", *S[1:], swept, "hydra.sweep.dir=sweep", "hydra.job.chdir=true")
    assert command(*line) == (0, "")
    found = {result(path.parent)["data_digest"]: path.parent for path in tmp_path.rglob("result.json")}
    assert set(found) == {corpus.digest(str(tmp_path / name)) for name in ("x", "y")}
    assert {folder.parent for folder in found.values()} == {here / "sweep" / "text" / "learned_relative" / "seed0"}
    assert (here / "sweep" / "index.html").exists()
    checkpoint = found[corpus.digest(str(tmp_path / "x"))].relative_to(here) / "checkpoints" / "last.ckpt"
    more = ("trainer.max_steps=6", f"ckpt_path='{checkpoint}'", f"dataset.path={tmp_path / 'x'}")
    assert command("dataset=text", *S[1:], *more, "hydra.run.dir=rest", "hydra.job.chdir=true") == (0, "")
    assert result(here / "rest")["steps"] == 6


TWINS = [
    "optimizer.lr=0.001",
    "a b",
    "a/b",
    "a-b",
    "..",
    ".",
    "../a",
    "é" * 200,
    "a" * 256,
    "a\x1b[2J",
    "a\n",
    "x" * 300,
]


@pytest.mark.slow
@settings(max_examples=50)
@given(st.text())
def test_a_folder_name_is_one_folder_and_no_other_values(text: str) -> None:
    name = folder_name(text)
    assert (name == "") == (text == "")
    assert not {"/", "\0", "\\"} & set(name)
    assert name not in (".", "..")
    assert len(name.encode()) <= 255
    others = [other for other in TWINS if other != text]
    assert name not in map(folder_name, others)


def test_plain_names_stay_as_they_were() -> None:
    assert run_folder("text", "rope", 0, "") == "text/rope/seed0"
    assert run_folder("text", "rope", 0, "optimizer.lr=1e-05") == "text/rope/seed0/optimizer.lr=1e-05"
    assert folder_name("dataset.length=[8,16],model.causal=True") == "dataset.length=[8,16],model.causal=True"
    assert run_folder("text", "rope", "../../x", "a=/b").count("/") == 3
