"""Makes run folders as training leaves them, without training."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

BLIND, AWARE = 0.5, 1.0
Make = Callable[..., Path]


def settings(encoding: str, dataset: str, positions: str, seed: int) -> dict[str, Any]:
    """The groups of a config that matter to the report."""
    return {
        "seed": seed,
        "data": {
            "_target_": "posenc.training.data.SequenceData",
            "batch_size": 128,
            "eval_size": 500,
            "train_size": None,
        },
        "module": {"_target_": "posenc.training.module.SequenceModule", "warmup_steps": 100},
        "optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.003},
        "dataset": {"_target_": f"posenc.tasks.{dataset}.Task", "length": [8, 32], "test_lengths": [32, 64]},
        "positions": {"_target_": f"posenc.positions.schemes.{positions}"},
        "model": {"_target_": "posenc.model.encoder.Encoder", "dim": 64, "num_layers": 2},
        "encoding": {"_target_": f"posenc.encodings.{encoding}.Encoding", "dim": 64},
        "trainer": {"max_steps": 1000, "precision": "32-true", "gradient_clip": 1.0},
    }


@pytest.fixture
def run(tmp_path: Path) -> Make:
    """Make one run folder: skills by length, or bits; any key of result.json or of the config can be given."""

    def make(
        encoding: str,
        seed: int,
        skills: dict[int, float] | float | None = None,
        *,
        dataset: str = "pattern",
        positions: str = "contiguous",
        sweep: str = "sweep",
        name: str | None = None,
        bits: float | None = None,
        config: dict[str, Any] | None = None,
        **result: Any,
    ) -> Path:
        folder = tmp_path / sweep / dataset / encoding.replace("/", "_") / f"seed{seed}" / (name or "")
        (folder / ".hydra").mkdir(parents=True)
        plain = settings(encoding, dataset, positions, seed)
        for key, value in (config or {}).items():
            group, _, part = key.partition(".")
            if part:
                plain[group][part] = value
            else:
                plain[group] = value
        (folder / ".hydra" / "config.yaml").write_text(yaml.safe_dump(plain))
        by_length = skills if isinstance(skills, dict) else {} if skills is None else {32: skills, 64: skills / 2}
        test = {
            str(n): {
                "accuracy": BLIND + skill * (AWARE - BLIND), "accuracy_standard_error": 0.01, "loss": 0.7,
                "bits": 1 - skill, "skill": skill, "sequences": 500,
            }
            for n, skill in by_length.items()
        }  # fmt: skip
        if bits is not None:
            test = {"32": {"accuracy": 0.3, "accuracy_standard_error": 0.01, "loss": bits * 0.69, "bits": bits}}
        known = bits is None
        record: dict[str, Any] = {
            "schema": 2, "status": "completed" if test else "failed", "error": None, "encoding": encoding,
            "positions": positions, "dataset": dataset, "seed": seed, "config_hash": json.dumps(plain),
            "command": f"python train.py encoding={encoding} seed={seed}", "trained_lengths": [8, 32],
            "parameters": 1000, "encoding_parameters": 10, "steps": 1000, "seconds": 10.0, "tokens_per_second": 5000,
            "wall_seconds": 11.0, "references": {}, "undefined": {}, "test": test,
            "ceilings": {
                n: {"order_blind": BLIND if known else None, "order_aware": AWARE if known else None} for n in test
            },
            "length_generalization": {"aulc": None, "k50": None, "tested_to": 2.0}, "versions": {"torch": "2.13.0"},
        }  # fmt: skip
        record |= result
        kept = {key: value for key, value in record.items() if value != "absent"}
        (folder / "result.json").write_text(json.dumps(kept))
        rows = ["step,train/loss,validation/accuracy,validation/bits"]
        rows += [f"{step},{1 / (step + 1)},," for step in (0, 10, 20)] + [f"{step},,0.{step},1.0" for step in (10, 20)]
        (folder / "metrics.csv").write_text("\n".join(rows) + "\n")
        return folder

    return make


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder in which `run` makes its folders."""
    return tmp_path
