"""Whole runs of train.py in this process: fairness, determinism, the run folder, resume, failures as data."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from posenc.config.build import build
from posenc.tasks.text import TextDataset
from tests.commands import TRAIN, python
from tests.conftest import ROOT, Launch

SMALL = (
    "model.dim=16", "model.num_heads=2", "model.num_layers=1", "data.batch_size=8", "data.eval_size=64",
    "trainer.max_steps=12", "trainer.validate_every=4", "trainer.checkpoint_every=5", "trainer.log_every=3",
    "~callbacks.progress", "~callbacks.tensorboard",
)  # fmt: skip
WATCHED = tuple(word for word in SMALL if word != "~callbacks.tensorboard")
"""With the figures at the end of training, which take as long to draw as all the rest of so short a run."""


def result(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())


def weights(folder: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]


@pytest.mark.slow
def test_a_run_leaves_what_the_contract_says(command: Launch, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    status, errors = command("encoding=t5", *WATCHED, f"hydra.run.dir={folder}", "dataset.test_lengths=[32,40]")
    assert (status, errors) == (0, "")
    record = result(folder)
    assert record["status"] == "completed"
    assert (record["encoding"], record["dataset"], record["seed"], record["steps"]) == ("t5", "pattern", 0, 12)
    assert set(record["test"]) == set(record["ceilings"]) == {"32", "40"}
    for length, scores in record["test"].items():
        low, high = record["ceilings"][length].values()
        assert scores["skill"] == pytest.approx((scores["accuracy"] - low) / (high - low), abs=1e-6)
        assert scores["sequences"] == 64
    saved = OmegaConf.load(folder / ".hydra" / "config.yaml")
    assert saved.encoding.num_heads == 2
    assert "${" not in (folder / ".hydra" / "config.yaml").read_text()
    rows = list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
    assert {"train/loss", "validation/accuracy", "ceiling/order_blind", "gradient/norm", "train/learning_rate"} <= set(
        rows[0]
    )
    assert list(folder.glob("events.out.tfevents.*"))
    assert weights(folder).keys() == weights(folder, "best").keys()


@pytest.mark.slow
def test_a_length_past_an_encoding_is_an_empty_cell_with_its_reason(command: Launch, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    arguments = ("encoding=learned_absolute", "encoding.max_length=50", "dataset.length=[21,24]", *SMALL)
    status, errors = command(*arguments, f"hydra.run.dir={folder}")
    assert (status, errors) == (0, "")
    record = result(folder)
    assert record["trained_lengths"] == [21, 24]
    assert list(record["test"]) == ["24", "36", "48"]
    assert set(record["undefined"]) == {"96", "192"}
    assert "holds 50 positions, got 96" in record["undefined"]["96"]
    assert record["length_generalization"]["aulc"] is None
    assert record["length_generalization"]["tested_to"] == 2.0
    assert (folder / "length.png").stat().st_size > 10_000
    for scheme in ("encoding.max_length=20", "positions=randomized positions.span=20 encoding=rope"):
        arguments = (*SMALL, "encoding=learned_absolute", *scheme.split(), f"hydra.run.dir={tmp_path / 'no'}")
        status, errors = command(*(argument for argument in arguments if "rope" not in scheme or "abs" not in argument))
        assert status == 2
        assert re.search(r"holds 20 positions, got 32|span 20 is below length 32", errors), errors
        assert not (tmp_path / "no").exists()


@pytest.mark.slow
def test_scores_of_every_place_and_the_corpus_are_on_record(command: Launch, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    arguments = ("dataset=text", "encoding=rope", "dataset.length=16", "dataset.test_lengths=[16,24]", *SMALL)
    assert command(*arguments, f"hydra.run.dir={folder}") == (0, "")
    record = result(folder)
    rows = list(csv.DictReader((folder / "by_position.csv").read_text().splitlines()))
    for length in (16, 24):
        chosen = [row for row in rows if int(row["length"]) == length]
        assert [int(row["position"]) for row in chosen] == list(range(length))
        mean = sum(float(row["bits"]) for row in chosen) / length
        assert mean == pytest.approx(record["test"][str(length)]["bits"], abs=1e-4)
    assert record["data_digest"] == TextDataset().digest
    assert record["references"]["gzip_bits_per_byte"] < record["references"]["gzip_bits_per_byte_in_context"]
    assert record["length_generalization"] == {}


def test_one_seed_means_equal_weights_and_equal_batches(composed: Callable[..., Any], tmp_path: Path) -> None:
    """Two encodings with one seed: every shared weight and every batch is bit-equal."""
    built = {}
    for name in ("none", "learned_absolute", "t5", "rope", "continuous"):
        config = composed(f"encoding={name}", "seed=3", "~callbacks", "+callbacks={}", "~logger", "+logger={}")
        built[name] = build(config, tmp_path)
    reference = dict(built["none"].module.encoder.named_parameters())
    batches = list(zip(range(5), built["none"].data.train_dataloader()))  # noqa: B905
    for parts in built.values():
        own = {n: p for n, p in parts.module.encoder.named_parameters() if not n.startswith("encodings.")}
        assert own.keys() == reference.keys()
        assert all(torch.equal(p, reference[n]) for n, p in own.items())
        for (_, a), (_, b) in zip(batches, zip(range(5), parts.data.train_dataloader())):  # noqa: B905
            assert torch.equal(a[0], b[0])
            assert torch.equal(a[1], b[1])


@pytest.mark.slow
def test_same_command_same_numbers_and_another_seed_others(command: Launch, tmp_path: Path) -> None:
    def measure(name: str, *more: str) -> dict[str, Any]:
        status, _ = command("model.dropout=0.1", *SMALL, f"hydra.run.dir={tmp_path / name}", *more)
        assert status == 0
        return result(tmp_path / name)

    a, b, other = measure("a"), measure("b"), measure("c", "seed=1")
    assert a["test"] == b["test"]
    assert a["config_hash"] == b["config_hash"] != other["config_hash"]
    assert all(torch.equal(x, y) for x, y in zip(weights(tmp_path / "a").values(), weights(tmp_path / "b").values()))  # noqa: B905
    assert a["test"] != other["test"]


@pytest.mark.slow
@pytest.mark.parametrize(("stop", "precision"), [(5, "auto"), (8, "auto"), (7, "64-true")])
def test_resume_goes_on_where_it_stopped(command: Launch, tmp_path: Path, stop: int, precision: str) -> None:
    """Bit-equal to the run that was never stopped, dropout and all; at a validation and between two."""
    more = ("model.dropout=0.2", *SMALL, f"trainer.precision={precision}")
    more += ("module.warmup_steps=100",)  # within warm-up the rate ignores max_steps
    assert command(*more, f"hydra.run.dir={tmp_path / 'whole'}")[0] == 0
    assert command(*more, f"hydra.run.dir={tmp_path / 'half'}", f"trainer.max_steps={stop}")[0] == 0
    checkpoint = tmp_path / "half" / "checkpoints" / "last.ckpt"
    assert command(*more, f"hydra.run.dir={tmp_path / 'rest'}", f"ckpt_path={checkpoint}") == (0, "")
    whole, rest = weights(tmp_path / "whole"), weights(tmp_path / "rest")
    assert all(torch.equal(whole[name], rest[name]) for name in whole)
    assert result(tmp_path / "whole")["test"] == result(tmp_path / "rest")["test"]
    before, after = (
        list(csv.DictReader((tmp_path / name / "metrics.csv").read_text().splitlines())) for name in ("whole", "rest")
    )
    assert [row for row in before if int(row["step"]) >= stop] == after


@contextmanager
def at_first(path: Path, act: Callable[[], None]) -> Iterator[None]:
    """Act once there is such a file, in another thread, and not after the work below has ended."""
    ended = threading.Event()

    def watch() -> None:
        while not path.exists():
            if ended.wait(0.02):
                return
        act()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def process(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A real `python train.py ARGUMENTS`, on one thread."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    line = [sys.executable, str(ROOT / "train.py"), *arguments]
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_a_sweep_survives_what_diverges_and_what_fails(command: Launch, tmp_path: Path) -> None:
    swept = ("encoding=none,alibi_causal", "optimizer.lr=0.001,1e38", "optimizer.weight_decay=0.01")
    assert command("-m", *swept, *SMALL, "trainer.gradient_clip=null", f"hydra.sweep.dir={tmp_path}")[0] == 1
    found = {path.parent.relative_to(tmp_path): result(path.parent) for path in tmp_path.rglob("result.json")}
    statuses = {str(folder): record["status"] for folder, record in found.items()}
    assert statuses == {
        "pattern/none/seed0/optimizer.lr=0.001": "completed",
        "pattern/none/seed0/optimizer.lr=1e+38": "diverged",
        "pattern/alibi_causal/seed0/optimizer.lr=0.001": "failed",
        "pattern/alibi_causal/seed0/optimizer.lr=1e+38": "failed",
    }
    assert "step" in found[Path("pattern/none/seed0/optimizer.lr=1e+38")]["error"]
    assert "model.causal=true" in found[Path("pattern/alibi_causal/seed0/optimizer.lr=0.001")]["error"]


@pytest.mark.slow
def test_a_good_sweep_ends_well(tmp_path: Path) -> None:
    done = process("-m", "encoding=none,rope", *SMALL, f"hydra.sweep.dir={tmp_path / 's'}")
    assert (done.returncode, done.stderr) == (0, "")
    for encoding in ("none", "rope"):
        assert result(tmp_path / "s" / "pattern" / encoding / "seed0")["status"] == "completed"


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_checkpoint_that_loads(command: Launch, tmp_path: Path, signum: int) -> None:
    """This process is signalled; test_slurm_queues_a_job_again_and_it_goes_on signals a command of its own."""
    folder = tmp_path / "run"
    checkpoint = folder / "checkpoints" / "last.ckpt"
    seldom = (*SMALL, "trainer.log_every=5", "trainer.validate_every=1000000")
    with at_first(checkpoint, lambda: os.kill(os.getpid(), signum)):
        status, said = command(*seldom, "trainer.max_steps=1000000", f"hydra.run.dir={folder}")
    assert status == 128 + signum, said
    assert "Traceback" not in said
    record = result(folder)
    assert record["status"] == "interrupted"
    assert torch.load(checkpoint, weights_only=True)["global_step"] == record["steps"] >= 5
    more = (*seldom, f"trainer.max_steps={record['steps'] + 3}", f"ckpt_path={checkpoint}")
    assert command(*more, f"hydra.run.dir={tmp_path / 'rest'}") == (0, "")
    assert result(tmp_path / "rest")["steps"] == record["steps"] + 3


@pytest.mark.slow
def test_help_and_config_come_without_torch() -> None:
    for flags in (["--help"], ["--cfg", "job"]):
        script = (
            f"import sys; sys.argv = ['train.py', *{flags}]\n"
            f"sys.path.insert(0, {str(ROOT)!r})\n"
            "import train\n"
            "try: train.launch(train.main, train.CONFIGS)\n"
            "except SystemExit: pass\n"
            "assert 'torch' not in sys.modules"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        for word in ("encoding", "learned_relative"):
            assert word in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("trailing", ["--cfg job", "--help", "--info defaults"])
def test_options_may_stand_after_the_overrides(trailing: str) -> None:
    done = python(TRAIN, "encoding=rope", "model.dim=32", *trailing.split())
    assert (done.returncode, done.stderr) == (0, "")
    assert "rope" in done.stdout


@pytest.mark.slow
def test_text_reports_bits_beside_the_unigram_entropy(command: Launch, tmp_path: Path) -> None:
    (tmp_path / "book").write_bytes(b"the cat sat on the mat. " * 400)
    more = (f"dataset.path={tmp_path / 'book'}", "dataset.length=24", "encoding=alibi_causal")
    status, errors = command("dataset=text", *more, *SMALL, "trainer.max_steps=60", f"hydra.run.dir={tmp_path / 'r'}")
    assert (status, errors) == (0, "")
    record = result(tmp_path / "r")
    assert record["test"]["24"]["bits"] < 5
    assert 3 < record["references"]["unigram_bits_per_byte"] < 4
    assert "skill" not in record["test"]["24"]


@pytest.mark.slow
@pytest.mark.parametrize("left_out", ["~logger", "~callbacks", "~callbacks.tensorboard", "~logger.tensorboard"])
def test_what_watches_a_run_can_be_left_out(command: Launch, tmp_path: Path, left_out: str) -> None:
    small = [word for word in WATCHED if left_out != "~callbacks" or word != "~callbacks.progress"]
    assert command(*small, left_out, f"hydra.run.dir={tmp_path / 'r'}") == (0, "")
    assert result(tmp_path / "r")["status"] == "completed"
