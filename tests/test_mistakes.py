"""What a user can do wrong gets one message, status not 0, and leaves nothing behind or all as it was."""

import re
from pathlib import Path

import pytest

from posenc.checks import ConfigError
from posenc.runs.folder import lock_folder
from tests.conftest import Launch
from tests.test_training import SMALL

MISTAKES = [
    ("encoding=learned_relativ", "options are abacus, [a-z0-9_, ]+, xpos[.] Did you mean learned_relative"),
    ("dataset=patern", "Did you mean pattern"),
    ("dataset.lenght=3", "dataset has .*length.*Did you mean length"),
    ("modle.dim=3", "the config has .*model, encoding"),
    ("+encoding.colour=red", "colour.*the options are num_heads, max_distance"),
    ("model.num_heads=7", "dim 64 does not split into 7 heads"),
    ("model.num_heads=64 encoding=rope", "head width must be even, got 1"),
    ("encoding=learned_absolute encoding.max_length=16", "holds 16 positions, got 32; raise encoding.max_length"),
    ("dataset.length=20", "length must be at least 21"),
    ("dataset.vocab_size=8", "vocab_size must be at least 10"),
    ("model.num_layers=0", "num_layers must be a whole number ≥ 1, got 0"),
    ("model.dim=-4", "dim must be a whole number ≥ 1, got -4"),
    ("data.batch_size=0", "batch_size must be a whole number ≥ 1, got 0"),
    ("trainer.max_steps=0", "max_steps must be a whole number ≥ 1, got 0"),
    ("trainer.precision=8", "precision=8 is not one of"),
    ("seed=one", "seed must be a whole number ≥ 0, got 'one'"),
    ("seed=-1", "seed must be a whole number ≥ 0, got -1"),
    ("seed=1.5", "seed must be a whole number ≥ 0, got 1.5"),
    ("model.readout=per_token", "asks one answer a sequence; set model.readout=mean"),
    ("encoding=alibi_causal", "set model.causal=true, or encoding=alibi"),
    ("encoding=continuous model.encoding_per_layer=true", "set model.inject=every_layer, or model.encoding_per_layer"),
    ("encoding=cope", "needs a causal mask; set model.causal=true"),
    ("encoding=rope-rope-none", "pattern of 3 layers and does not fill 2 .*set model.num_layers to a multiple of 3"),
    ("encoding=rope-nonne", "encoding=rope-nonne: encoding=nonne does not exist; .* Did you mean none[?]"),
    ("encoding=rope-alibi_causal", "CausalALiBi needs a causal mask; set model.causal=true"),
    ("encoding=rope-none encoding.parts.rope.bas=3", "encoding.parts.rope has dim, num_heads, base.*Did you mean base"),
    ("encoding=alibi:none:none", "4 heads do not split into 3 equal shares; set model.num_heads to a multiple of 3"),
    ("encoding=forgetting:none model.causal=true", "reads the layer's whole input"),
    ("encoding=sinusoidal:none", "enters at the embeddings, which all heads read"),
    ("encoding=sinusoidal+lape", "SinusoidalPositionalEncoding at input and .* a layer embeds at one place"),
    ("encoding=rope+rope", "has two parts rope; name one of them anew, as in rope@x"),
    ("encoding=rope-none model.window=[1,2,3]", "model.window is a pattern of 3 layers"),
    ("encoding=rope encoding.num_heads=2", "set model.num_heads and leave encoding.num_heads to follow it"),
    (
        "encoding=rope_yarn encoding.original_length=32.0",
        "Encoding: encoding.original_length must be a whole number ≥ 1, got 32.0",
    ),
    ("positions=within_number positions.digits=5", "digits must be a list of tokens, got 5"),
    ("positions=randomized positions.span=16", "span 16 is below length 32; raise positions.span"),
    ("ckpt_path=/nowhere/last.ckpt", "does not exist; checkpoints are in"),
    ("optimizer.lr=fast", "optimizer: .*'str'"),
    ("-m encoding=sinusoidal,continuous encoding.rms=raw", r"write \+\+encoding.rms= to set it in the whole sweep"),
    ("-m seed=0,1,2 trainer.max_steps=x", "max_steps must be a whole number ≥ 1, got 'x'"),
    ("-m encoding=rope,none optimizer.lr=fast", "optimizer: .*'str'"),
    ("-m encoding=alibi_causal,cope", "set model.causal=true, or encoding=alibi"),
    ("-m experiment=quick_demo data.batch_size=0", "batch_size must be a whole number ≥ 1, got 0"),
    ("trainer.accelerator=abacus", "trainer: .*'abacus'"),
    ("dataset=text dataset.path=/dev/null", "neither a file nor a folder"),
    ("dataset=text dataset.path=/nowhere", "neither a file nor a folder"),
]


@pytest.mark.parametrize(("mistake", "message"), MISTAKES, ids=[mistake for mistake, _ in MISTAKES])
def test_a_mistake_gets_one_message_and_leaves_nothing(
    command: Launch, tmp_path: Path, mistake: str, message: str
) -> None:
    folder, kind = tmp_path / "run", "sweep" if "-m" in mistake.split() else "run"
    status, errors = command(*mistake.split(), f"hydra.{kind}.dir={folder}")
    assert status == 2
    assert errors.startswith("error: ")
    assert "Traceback" not in errors
    assert pytest.approx(1, abs=2) == errors.count("\n")
    assert re.search(message, errors), errors
    assert not folder.exists()


@pytest.mark.slow
def test_unwritable_and_occupied_folders(command: Launch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    status, errors = command(f"hydra.run.dir={tmp_path / 'file' / 'run'}")
    assert status == 2
    assert "cannot be written" in errors
    with (
        pytest.raises(ConfigError, match=r"give another with hydra\.run\.dir=FOLDER"),
        lock_folder(tmp_path / "file", wait=False),
    ):
        pass
    folder = tmp_path / "run"
    assert command(*SMALL, f"hydra.run.dir={folder}")[0] == 0
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    status, errors = command(*SMALL, f"hydra.run.dir={folder}", "seed=5")
    assert status == 2
    assert "already contains a run" in errors
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_broken_and_foreign_checkpoints(command: Launch, tmp_path: Path) -> None:
    assert command(*SMALL, f"hydra.run.dir={tmp_path / 'run'}")[0] == 0
    whole = (tmp_path / "run" / "checkpoints" / "last.ckpt").read_bytes()
    cases = {
        "truncated": (
            whole[: len(whole) // 2],
            [],
            "is not a whole checkpoint .*; copy it again, or give another file of its",
        ),
        "text": (b"hello", [], "is not a whole checkpoint"),
        "encoding": (whole, ["encoding=t5"], "another architecture"),
        "width": (whole, ["model.dim=32"], "another architecture: .* is .* there and .* here"),
    }
    for name, (content, more, message) in cases.items():
        path = tmp_path / f"{name}.ckpt"
        path.write_bytes(content)
        status, errors = command(*SMALL, *more, f"ckpt_path={path}", f"hydra.run.dir={tmp_path / name}")
        assert status == 2, name
        assert re.search(message, errors), errors
        assert not (tmp_path / name).exists()
