"""The benchmark measures every contestant that it names, beside the right baseline. No time is tested."""

import json
import re
import shlex
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from posenc.__main__ import main, parser
from posenc.benchmark import measure, models
from posenc.benchmark.timing import Timing
from posenc.checks import ConfigError
from posenc.encodings.base import PositionalEncoding
from posenc.training.memory import saved_bytes
from posenc.training.precision import bfloat16_units
from tests.conftest import ROOT, options


def sections(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "benchmark.json").read_text())["sections"]


@pytest.mark.slow
def test_a_smoke_run_has_every_section_and_contestant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["benchmark", "profile=smoke", "rope", "cope", "alibi_causal", "--folder", str(tmp_path)])
    found = sections(tmp_path)
    assert (tmp_path / "benchmark.png").stat().st_size > 10_000
    names = {name: [row["contestant"] for row in section["rows"]] for name, section in found.items()}
    assert set(names["encodings"]) == {"rope", "cope", "alibi_causal", "none", "none (causal)"}
    expected = {"posenc, 32-true", *models.PEERS, "products alone, 32-true"}
    assert expected <= set(names["peers"]) if bfloat16_units() else expected == set(names["peers"])
    assert {name.partition(": ")[2] for name in names["attention"]} >= {"torch", "posenc"}
    assert len({name.partition(": ")[0] for name in names["attention"]}) == 6
    assert names["loop"] == ["bare loop", "Lightning"]
    assert set(names["data"]) == {"pattern", "parity"}
    medians = {row["contestant"]: row["median_ms"] for row in found["encodings"]["rows"]}
    ratios = {row["contestant"]: row["ratio"] for row in found["encodings"]["rows"]}
    assert ratios["alibi_causal"] == pytest.approx(medians["alibi_causal"] / medians["none (causal)"])
    assert ratios["rope"] == pytest.approx(medians["rope"] / medians["none"])
    assert "Hugging Face BERT" in capsys.readouterr().out


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "benchmark.json").write_text("{}")
    for words, message in (
        (["roqe"], "Did you mean rope?"),
        (["profile=fast"], "profile=fast is not one of smoke, quick, full"),
        (["rounds=3"], "option=rounds is not one of profile"),
        (["--folder", str(tmp_path)], "contains a benchmark already"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(["benchmark", *words])
        assert stop.value.code == 2
        assert message in capsys.readouterr().err
    assert (tmp_path / "benchmark.json").read_text() == "{}"


def test_the_contestants_are_of_one_size() -> None:
    """Same linear maps: parameters differ by biases and by norms alone, under 2 %."""
    ours = sum(p.numel() for p in models.posenc_encoder(models.learned_absolute(32)).parameters())
    for name, make in models.PEERS.items():
        assert sum(p.numel() for p in make(32).parameters()) == pytest.approx(ours, rel=0.02), name


def test_saved_bytes_counts_each_storage_once_and_no_parameter() -> None:
    layer = torch.nn.Linear(4, 4, bias=False)
    x = torch.randn(5, 4, requires_grad=True)
    assert saved_bytes(layer, lambda: layer(x) + layer(x)) == x.untyped_storage().nbytes()


def test_what_was_counted_is_let_go() -> None:
    """Softmax keeps its own answer."""
    answers: list[weakref.ref[torch.Tensor]] = []

    def forward() -> None:
        x = torch.randn(5, 4, requires_grad=True).softmax(-1)
        answers.append(weakref.ref(x))

    assert saved_bytes(torch.nn.Identity(), forward) == 5 * 4 * 4
    assert answers[0]() is None


def test_a_bias_by_distance_keeps_hardly_more_than_none() -> None:
    tokens, _ = models.batch(4, 256)
    kept = []
    for encoding in (PositionalEncoding(), *_by_distance()):
        encoder = models.posenc_encoder(encoding)
        kept.append(saved_bytes(encoder, lambda encoder=encoder: encoder(tokens)))
    assert all(size <= 1.1 * kept[0] for size in kept)


def _by_distance() -> list[PositionalEncoding]:
    from posenc.encodings.kerple import KerpleLogPositionalBias
    from posenc.encodings.learned_relative import LearnedRelativePositionalBias
    from posenc.encodings.t5 import T5RelativePositionalBias

    return [
        LearnedRelativePositionalBias(models.HEADS),
        T5RelativePositionalBias(models.HEADS, causal=False),
        KerpleLogPositionalBias(models.HEADS),
    ]


def test_timing() -> None:
    timing, half = (Timing(torch.tensor(x).numpy()) for x in ([0.002, 0.001, 0.004], [0.001, 0.001, 0.001]))
    row = timing.row(half)
    assert (row["min_ms"], row["median_ms"], row["ratio"]) == pytest.approx((1, 2, 2))


def test_the_documented_commands_are_understood() -> None:
    page = (ROOT / "docs" / "performance.md").read_text()
    commands = re.findall(r"^python -m posenc (benchmark.*?)\s*(?:#.*)?$", page, re.MULTILINE)
    assert len(commands) >= 5
    for command in commands:
        asked = parser().parse_args(shlex.split(command))
        profile, names, sections = measure.chosen(asked.words, asked.only or ())
        assert (profile is measure.PROFILES["full"]) == ("profile=full" in command)
        assert {*names} == {*command.split()} & {*options("encoding")}
        assert {*sections} == {*command.partition("--only")[2].split()} & {*measure.SECTIONS} or "--only" not in command


def test_a_section_that_does_not_exist_is_named() -> None:
    with pytest.raises(ConfigError, match="--only=answer is not one of peers"):
        measure.chosen([], ["answer", "profile=full"])
