"""`posenc.load`: a run is a model."""

import copy
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

import posenc
from posenc.checks import ConfigError
from posenc.config.make import make
from posenc.encodings.rope import RotaryPositionalEncoding
from posenc.trained.load import load
from posenc.training.evaluation.sets import evaluation_set
from tests.conftest import ROOT, Launch

RUN = ROOT / "tests" / "former" / "sweep" / "majority" / "rope" / "seed0"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A copy of a trained run, to break."""
    return Path(shutil.copytree(RUN, tmp_path / "run"))


@pytest.mark.parametrize("named", [RUN, str(RUN), RUN / "checkpoints" / "last.ckpt"], ids=["path", "text", "weights"])
def test_a_run_is_its_encoder(named: Any) -> None:
    """Its scores on its test set, computed here from the logits alone, are those that the run has on record."""
    encoder = posenc.load(named)
    assert not encoder.training
    assert isinstance(encoder.encoding(0), RotaryPositionalEncoding)
    config: Any = vars(encoder)["config"]
    assert (config["model"]["dim"], config["optimizer"]["lr"], config["seed"]) == (16, 3e-3, 0)
    recorded = json.loads((RUN / "result.json").read_text())["test"]["8"]
    tokens, targets = evaluation_set(make(DictConfig(config), "dataset"), "test", 8, recorded["sequences"])
    with torch.no_grad():
        logits = encoder(tokens)
    assert float((logits.argmax(-1) == targets).double().mean()) == recorded["accuracy"]
    assert float(torch.nn.functional.cross_entropy(logits, targets)) == pytest.approx(recorded["loss"], abs=1e-5)


def test_tokens_stand_where_the_run_placed_them(command: Launch, tmp_path: Path) -> None:
    """At the positions of the run's scheme, the read-out's own included, unless positions are given."""
    words = (
        "dataset=majority", "dataset.length=8", "dataset.test_lengths=[8]", "trainer.max_steps=2", "data.batch_size=4",
        "trainer.validate_every=2", "data.eval_size=32", "callbacks=quiet", "~logger", "model.dim=16", "encoding=rope",
        "positions=randomized", "positions.span=64", "model.readout=query", f"hydra.run.dir={tmp_path / 'run'}",
    )  # fmt: skip
    assert command(*words) == (0, "")
    encoder = posenc.load(tmp_path / "run")
    tokens = torch.randint(encoder.tokens.num_embeddings, (3, 8))
    positions = load(tmp_path / "run").module.place(tokens)
    assert positions.ids.shape == (1, 9)
    assert not torch.equal(positions.ids, torch.arange(9)[None])
    placed = encoder(tokens)
    assert torch.equal(encoder(tokens, positions), placed)
    assert torch.equal(encoder(tokens=tokens, positions=positions), placed)
    assert not torch.equal(encoder(tokens, type(positions).arange(9)), placed)
    for twin in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        assert torch.equal(twin(tokens), placed)


def old_layout(run: Path) -> None:
    found = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps(found | {"schema": 1}))


def another_class(run: Path) -> None:
    config = OmegaConf.load(run / ".hydra" / "config.yaml")
    config.encoding = {"_target_": "os.system", "command": "true"}
    OmegaConf.save(config, run / ".hydra" / "config.yaml")


SPOILED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no checkpoint": (lambda run: shutil.rmtree(run / "checkpoints"), "has neither checkpoints/last.ckpt nor"),
    "no config": (lambda run: shutil.rmtree(run / ".hydra"), "lacks .hydra/config.yaml"),
    "another version": (old_layout, "this posenc reads and writes layout 2; use the posenc that wrote it"),
    "no folder": (shutil.rmtree, "is not a folder; give the folder of a run"),
    "code": (another_class, "it may run anything; if the run is yours, .* posenc.load with trust=True"),
}


@pytest.mark.parametrize("how", SPOILED)
def test_what_is_no_run_is_answered_in_words(how: str, run: Path) -> None:
    spoil, expected = SPOILED[how]
    spoil(run)
    with pytest.raises(ConfigError, match=expected) as error:
        posenc.load(run)
    assert "\n" not in str(error.value)


def test_weights_without_their_run_are_refused(run: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone" / "last.ckpt"
    alone.parent.mkdir()
    (run / "checkpoints" / "last.ckpt").rename(alone)
    with pytest.raises(ConfigError, match="is in no run folder, so its model is unknown"):
        posenc.load(alone)


@pytest.mark.slow
def test_importing_posenc_imports_no_torch() -> None:
    code = "import sys, posenc; assert 'torch' not in sys.modules; assert not hasattr(posenc, 'nothing')"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
