"""`python -m posenc export RUN`: what is taken away is the encoder, to the bit, and reads no run."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

import posenc
from posenc import hf
from posenc.__main__ import main
from posenc.catalog.encodings import EncodingEntry
from posenc.checks import ConfigError
from posenc.config.build import build_module
from posenc.config.make import make
from posenc.trained import exported
from posenc.trained.export import write
from posenc.training.module import SequenceModule
from tests.conftest import ROOT, Launch, options

RUN = ROOT / "tests" / "former" / "sweep" / "majority" / "rope" / "seed0"
SMALL = ("dataset=majority", "dataset.length=8", "dataset.test_lengths=[8]", "model.dim=16", "model.num_heads=2")


def answers(encoder: nn.Module, length: int = 8) -> Tensor:
    with torch.no_grad():
        return encoder(torch.arange(3 * length).view(3, length) % 3)


def write_untrained(config: Any, module: SequenceModule, folder: Path) -> Path:
    """An export of weights that are drawn here."""
    for parameter in module.encoder.parameters():
        nn.init.normal_(parameter, std=0.3)
    groups: dict[str, Any] = {key: config[key] for key in exported.GROUPS}
    plain = {key: OmegaConf.to_container(x, resolve=True) if OmegaConf.is_config(x) else x for key, x in groups.items()}
    sizes = {"vocab_size": module.task.vocab_size, "num_outputs": module.task.num_outputs}
    exported.write(folder, module.encoder, {**sizes, "trained_tokens": module.trained_tokens, "config": plain})
    return folder


@pytest.fixture
def taken(tmp_path: Path) -> Path:
    """The export of a run, to break."""
    return write(RUN, tmp_path / "export")


@pytest.mark.parametrize("name", options("encoding"))
def test_every_encoding_comes_back_to_the_bit(
    composed: Callable[..., Any], catalogue: dict[str, EncodingEntry], name: str, tmp_path: Path
) -> None:
    """Past the trained length too, where some encodings follow it."""
    words = (f"encoding={name}", f"model.causal={str(catalogue[name].causal).lower()}", "positions=randomized")
    config = composed(*SMALL, *words, "positions.span=64", "model.readout=query", "model.num_layers=2")
    module = build_module(config, make(config, "dataset")).eval()
    encoder = posenc.load(write_untrained(config, module, tmp_path / "taken"))
    assert not encoder.training
    for length in (8, 20):
        with torch.no_grad():
            expected = module(torch.arange(3 * length).view(3, length) % 3)
        assert torch.equal(answers(encoder, length), expected)


def test_a_command_exports_a_run_that_is_then_not_needed(
    command: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    words = ("trainer.max_steps=2", "data.batch_size=4", "trainer.validate_every=2", "data.eval_size=32", "~logger")
    assert command(*SMALL, *words, "callbacks=quiet", "encoding=rope_yarn", f"hydra.run.dir={run}") == (0, "")
    capfd.readouterr()
    main(["export", str(run)])
    assert capfd.readouterr().out.endswith(f"read them: posenc.load({str(run / 'export')!r})\n")
    expected = answers(posenc.load(run), 20)
    (run / "export").rename(tmp_path / "taken")
    result = json.loads((run / "result.json").read_text())
    shutil.rmtree(run)
    monkeypatch.chdir(tmp_path / "taken")
    encoder = posenc.load(".")
    assert torch.equal(answers(encoder, 20), expected)
    facts = json.loads(Path("config.json").read_text())
    assert (facts["run"], facts["encoding"], facts["dataset"], facts["trained_tokens"], facts["posenc"]) == (
        result["config_hash"], "rope_yarn", "majority", 8, result["versions"]["posenc"],
    )  # fmt: skip
    assert vars(encoder)["config"] == facts["config"]


def test_nothing_is_overwritten(taken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def unchanged(folder: Path, said: str) -> None:
        before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
        with pytest.raises(SystemExit) as stop:
            main(["export", str(RUN), "--output", str(folder)])
        assert (stop.value.code, said in capsys.readouterr().err) == (2, True)
        assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()} == before

    before = (taken / "config.json").stat().st_mtime_ns
    main(["export", str(RUN), "--output", str(taken)])  # it is there already
    assert (taken / "config.json").stat().st_mtime_ns == before
    facts = json.loads((taken / "config.json").read_text())
    (taken / "config.json").write_text(json.dumps(facts | {"run": "another"}))
    unchanged(taken, "contains another export. Nothing is overwritten; choose another folder with --output")
    (tmp_path / "mine").mkdir()
    unchanged(tmp_path / "mine", "exists and is no export. Nothing is overwritten")
    (tmp_path / "mine" / "precious").write_text("mine")
    unchanged(tmp_path / "mine", "exists and is no export. Nothing is overwritten")


def changed(**facts: Any) -> Callable[[Path], Any]:
    def change(taken: Path) -> None:
        path = taken / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | facts))

    return change


def configured(group: str, **options: Any) -> Callable[[Path], Any]:
    def change(taken: Path) -> None:
        config = json.loads((taken / "config.json").read_text())["config"]
        changed(config=config | {group: config[group] | options})(taken)

    return change


def rewritten(how: Callable[[bytes], bytes], name: str = "model.safetensors") -> Callable[[Path], Any]:
    return lambda taken: (taken / name).write_bytes(how((taken / name).read_bytes()))


def linked(taken: Path) -> None:
    (taken / "model.safetensors").rename(taken / "elsewhere")
    (taken / "model.safetensors").symlink_to("elsewhere")


SPOILED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a flipped bit": (rewritten(lambda data: data[:-1] + bytes([data[-1] ^ 1])), "config.json names another digest"),
    "a cut end": (rewritten(lambda data: data[:-1]), "config.json names another digest"),
    "too large": (rewritten(lambda data: data + b"\0" * 2**20), "bytes; at most .* are read"),
    "a link": (linked, "it is a link"),
    "no weights": (lambda taken: (taken / "model.safetensors").unlink(), "cannot be read .* export the run again"),
    "no JSON": (rewritten(lambda data: data[:-9], "config.json"), "config.json cannot be read"),
    "many levels": (rewritten(lambda data: b"[" * 60 + b"]" * 60, "config.json"), "it is nested too deeply"),
    "another's config": (rewritten(lambda data: b"{}", "config.json"), "is neither an export of posenc nor a run"),
    "another layout": (changed(posenc_export=2), "has layout 2; this posenc reads layout 1"),
    "another depth": (configured("model", num_layers=3), "does not fit its config.json: .* tensors differ, such as"),
    "no length": (changed(trained_tokens=None), "trained_tokens must be a whole number ≥ 1, got None"),
    "no groups": (changed(config={}), "lacks weights or config.encoding, config.model, config.positions, config.seed"),
    "code": (configured("encoding", _target_="os.system", command="true"), "if the run is yours, .* trust=True"),
    "a value of this machine": (configured("encoding", base="${oc.env:HOME}"), r"contains \$\{, which could read"),
    "an option that is none": (configured("encoding", nothing=1), "encoding.nothing does not exist"),
}


@pytest.mark.parametrize("how", SPOILED)
def test_what_is_no_export_is_answered_in_words(how: str, taken: Path) -> None:
    spoil, expected = SPOILED[how]
    spoil(taken)
    with pytest.raises(ConfigError, match=expected) as error:
        posenc.load(taken)
    assert "\n" not in str(error.value)


def test_a_model_of_transformers_takes_the_trained_encoding(composed: Callable[..., Any], tmp_path: Path) -> None:
    config = composed(*SMALL, "encoding=t5", "model.causal=true")
    module = build_module(config, make(config, "dataset"))
    folder = write_untrained(config, module, tmp_path / "taken")
    sizes = LlamaConfig(hidden_size=16, num_attention_heads=2, num_hidden_layers=3, vocab_size=9, intermediate_size=8)
    model = hf.use(LlamaForCausalLM(sizes), posenc.load(folder).encoding(0))
    held = model.model.get_submodule("posenc").state_dict()
    ours = module.encoder.encoding(0).state_dict()
    assert held
    assert all(torch.equal(value, ours[name.partition(".")[2]]) for name, value in held.items())
    assert model(torch.arange(9)[None]).logits.isfinite().all()
