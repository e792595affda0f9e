"""A trained run tested with other distances for far keys, and on text of which its tokens are not learned."""

import csv
import re
import sys
from pathlib import Path

import pytest

import train
from posenc import encodings as pe
from posenc.__main__ import main
from posenc.jobs.launch import launch
from posenc.tasks.state import FlipFlopDataset
from tests.test_evaluate import TINY, by_hand, refusal, result, trained  # noqa: F401

MAPS = {
    "rerope": lambda *sizes: pe.RectifiedRotaryPositionalEncoding(*sizes),
    "self_extend": lambda *sizes: pe.SelfExtendRotaryPositionalEncoding(*sizes),
    "dual_chunk": lambda *sizes: pe.DualChunkRotaryPositionalEncoding(*sizes),
}


@pytest.mark.slow
def test_far_keys_have_other_distances_and_the_trained_length_decides_which(
    trained: Path,  # noqa: F811
) -> None:
    """At 3 tokens the scores are RoPE's; at 32 those of the encoding that is put in by hand, with L = 8."""
    main(["evaluate", str(trained / "run0"), "--lengths=3,32", "--set", f"encoding={','.join(['rope', *MAPS])}"])
    folders = {name: trained / "evaluations" / "run0" / f"encoding={name}_lengths=3-32" for name in ("rope", *MAPS)}
    found = {name: result(folder)["test"] for name, folder in folders.items()}
    for name, build in MAPS.items():
        encoding = build(16, 2, True, 8)
        encoding.base = 500
        _, loss = by_hand(trained / "run0", FlipFlopDataset(length=8), 32, encoding)
        assert found[name]["32"]["loss"] == pytest.approx(loss, abs=1e-5)
        assert found[name]["32"]["loss"] != found["rope"]["32"]["loss"]
        assert found[name]["3"]["loss"] == pytest.approx(found["rope"]["3"]["loss"], abs=1e-6)


@pytest.mark.slow
def test_tokens_that_were_learned_are_those_of_one_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("mine", "other"):
        (tmp_path / name).write_text(f"a text of {name} words. " * 400)
    words = [word for word in TINY if not word.startswith("dataset")]
    run, text = tmp_path / "run", ["dataset=text", "dataset.tokenizer=bpe", "dataset.num_tokens=260"]
    sizes = ["dataset.length=8", "dataset.test_lengths=[8]", f"dataset.path={tmp_path / 'mine'}"]
    monkeypatch.setattr(sys, "argv", ["train.py", *text, *sizes, *words, f"hydra.run.dir={run}"])
    launch(train.main, train.CONFIGS)
    told = capsys.readouterr().out
    assert "1 file, 8,800 bytes in 260 tokens: " in told
    record = result(run)
    bits, size = record["test"]["8"]["bits"], record["references"]["bytes_per_token"]
    error = record["test"]["8"]["bits_standard_error"]
    found = rf"{bits:.3f} ± {error:.3f} +{bits / size:.3f} ± {error / size:.3f} +{2**bits:.1f}\s"
    assert re.search(found, told)  # a token, a byte, perplexity
    first = next(csv.DictReader((run / "by_position.csv").read_text().splitlines()))
    for of in ("bits", "bits_standard_error"):
        assert float(first[of.replace("bits", "bits_per_byte")]) == pytest.approx(float(first[of]) / size, rel=1e-4)
    said = refusal(capsys, run, "--set", f"dataset.path={tmp_path / 'other'}")
    assert "were learned from its own text and do not fit another text" in said
    assert "train with dataset.tokenizer=FILE.json" in said
