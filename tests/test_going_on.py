"""Going on from a checkpoint is going on with its run; weights for another run are asked for by a word of their own."""

import json
import os
import re
import shlex
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from posenc.checks import ConfigError
from posenc.config.build import build_module
from posenc.config.make import make
from posenc.config.resume import OVERRIDES_FILE, with_recorded
from posenc.runs.folder import begin, open_run
from posenc.runs.identity import config_hash, start_digest
from posenc.training.module import SequenceModule
from tests.conftest import Launch

SMALL = (
    "dataset=majority", "dataset.length=8", "dataset.test_lengths=[8]", "trainer.max_steps=4",
    "trainer.validate_every=2", "data.eval_size=32", "data.batch_size=4", "threads=1", "callbacks=quiet",
    "model.dim=16", "model.num_layers=1", "encoding=rope", "seed=3",
)  # fmt: skip


def result(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.fixture
def first(command: Launch, tmp_path: Path) -> Path:
    assert command(*SMALL, f"hydra.run.dir={tmp_path / 'first'}")[0] == 0
    return tmp_path / "first"


@pytest.mark.slow
def test_a_checkpoint_alone_goes_on_with_its_run_and_with_no_other(command: Launch, first: Path) -> None:
    path, folder = f"ckpt_path={first / 'checkpoints' / 'last.ckpt'}", first.parent
    assert command(path, "trainer.max_steps=6", f"hydra.run.dir={folder / 'rest'}")[0] == 0
    assert command(*SMALL, path, "trainer.max_steps=6", f"hydra.run.dir={folder / 'again'}")[0] == 0
    rest = result(folder / "rest")
    assert (rest["encoding"], rest["dataset"], rest["seed"], rest["steps"]) == ("rope", "majority", 3, 6)
    typed = weights(folder / "again")
    assert all(torch.equal(each, typed[name]) for name, each in weights(folder / "rest").items())
    for word, key, there, here in (
        ("encoding=alibi", "encoding._target_", "RotaryPositionalEncoding'", "SymmetricALiBi'"),
        ("model.dim=32", "model.dim", "16", "32"),
        ("seed=4", "seed", "3", "4"),
        ("optimizer.lr=1", "optimizer.lr", "0.003", "1"),
    ):
        status, errors = command(path, word, f"hydra.run.dir={folder / 'other'}")
        assert status == 2
        assert re.search(rf"but {key} is \S*{there} there and \S*{here} here; .*start_from=", errors), errors
        assert not (folder / "other").exists()
    moved = folder / "moved.ckpt"
    moved.write_bytes((first / "checkpoints" / "last.ckpt").read_bytes())
    status, errors = command(*SMALL, f"ckpt_path={moved}", f"hydra.run.dir={folder / 'other'}")
    assert status == 2
    assert "is in no run folder" in errors


@pytest.mark.slow
def test_other_weights_are_recorded_and_stretched_from_where_they_were_trained(
    command: Launch, first: Path, composed: Any
) -> None:
    path, folder = first / "checkpoints" / "last.ckpt", first.parent / "yarn"
    words = (*SMALL, "encoding=rope_yarn", "dataset.length=16", "optimizer.lr=0.0", "optimizer.weight_decay=0.0")
    assert command(*words, f"start_from={path}", f"hydra.run.dir={folder}")[0] == 0
    told = result(folder)
    assert (told["start_from"], told["steps"], told["trained_tokens"]) == (str(path), 4, 16)
    start, end = weights(first), weights(folder)
    assert all(torch.equal(start[name], end[name]) for name in start)  # at a rate of 0 they stay what they were
    for word, length in ((f"start_from={path}", 8), (f"start_from={folder}/checkpoints/last.ckpt", 8), ("seed=3", 16)):
        config = composed(*words, word)
        (layer,) = build_module(config, make(config, "dataset")).encoder.encodings
        assert layer.original_length == length
    lone = first.parent / "lone.ckpt"
    lone.write_bytes(path.read_bytes())
    status, errors = command(*words, f"start_from={lone}", f"hydra.run.dir={first.parent / 'no'}")
    assert status == 2
    assert "set encoding.original_length" in errors


def test_a_checkpoint_that_changed_is_no_beginning_of_the_same_run(tmp_path: Path) -> None:
    path, folder = tmp_path / "last.ckpt", tmp_path / "run"
    for content in (b"a", b"b"):
        path.write_bytes(content)
        record = {"schema": 2, "config_hash": "h", "start_digest": start_digest(str(path))}
        if content == b"a":
            folder.mkdir()
            begin(folder, record)
            (folder / ".hydra" / "config.yaml").write_text("seed: 0\n")
            (folder / "checkpoints").mkdir()
            (folder / "checkpoints" / "last.ckpt").touch()
        digest, options = config_hash({"seed": 0}), {"start": record["start_digest"], "force": False, "wait": False}
        if content == b"a":
            with open_run(folder, digest, **options) as found:
                assert found.resume
        else:
            with pytest.raises(ConfigError, match="began with other weights"), open_run(folder, digest, **options):
                pass
    assert start_digest(None) is start_digest(str(tmp_path / "nothing")) is None


@pytest.mark.slow
def test_a_run_that_began_with_other_weights_goes_on(command: Launch, first: Path) -> None:
    start, folder = first / "checkpoints" / "last.ckpt", first.parent
    assert command(*SMALL, "seed=4", f"start_from={start}", f"hydra.run.dir={folder / 'second'}")[0] == 0
    path = f"ckpt_path={folder / 'second' / 'checkpoints' / 'last.ckpt'}"
    status, errors = command(path, f"start_from={folder}/x.ckpt", f"hydra.run.dir={folder / 'no'}")
    assert status == 2
    assert "set only one of them" in errors
    start.unlink()
    assert command(path, "trainer.max_steps=6", f"hydra.run.dir={folder / 'third'}")[0] == 0
    assert (result(folder / "third")["start_from"], result(folder / "third")["steps"]) == (str(start), 6)
    status, errors = command(path, "trainer.max_steps=2", f"hydra.run.dir={folder / 'less'}")
    assert status == 2
    assert "is of step 4, past trainer.max_steps=2" in errors
    status, errors = command(path, "force=true", f"hydra.run.dir={folder / 'second'}")
    assert status == 2
    assert "force=true moves the content of" in errors
    assert (folder / "second" / "result.json").exists()


def test_words_of_a_record_are_data(tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").write_text("seed: 0\n")
    asked = [f"ckpt_path={tmp_path / 'checkpoints' / 'last.ckpt'}", "seed=1"]

    def given(*words: str) -> list[str]:
        (tmp_path / OVERRIDES_FILE).write_text(yaml.safe_dump([*words]))
        return with_recorded(asked)

    assert given("seed=0", "encoding=rope", "hydra.run.dir=/tmp/x", "launcher=joblib") == ["encoding=rope", *asked]
    for word in (
        "encoding._target_=os.system", "+callbacks.x={_target_:os.system}", "optimizer._target_=shutil.rmtree",
        "+encoding.a={b:[{_target_:os.system}]}", "model.norm=${oc.env:HOME}", "++encoding={'_target_':os.system}",
        "--config-dir=/tmp/x", "-m",
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            given(word)
    assert given("optimizer._target_=torch.optim.SGD")[0] == "optimizer._target_=torch.optim.SGD"


@pytest.mark.slow
def test_the_command_that_is_printed_goes_on(command: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, step = tmp_path / "a folder", SequenceModule.training_step
    said: list[str] = []

    def interrupted(self: SequenceModule, *batch: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return step(self, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(SequenceModule, "training_step", interrupted)
        patch.setattr("builtins.print", lambda *text, **_: said.append(" ".join(map(str, text))))
        assert command(*SMALL, f"hydra.run.dir='{folder}'")[0] == 130
    (line,) = (text for text in said if text.startswith("continue"))
    assert result(folder)["status"] == "interrupted"
    assert command(*shlex.split(line)[3:])[0] == 0
    assert (result(folder)["status"], result(folder)["steps"]) == ("completed", 4)
