"""One run, from a composed config to a result on disk."""

import logging
import platform
import shlex
import sys
import time
import traceback
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from posenc import runs, summary
from posenc.build import Parts, build
from posenc.checks import ConfigError
from posenc.length_generalization import summarise
from posenc.training import Diverged, Interrupted, check_checkpoint

# Notices and hints at every start, and a deprecation between Lightning 2.6 and torch 2.13 that no user can mend.
for name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(name).setLevel(logging.WARNING)
warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")


def run(config: DictConfig) -> None:
    """Train and test what `config` describes, or conduct its study; leave a run folder, print a table.

    A user's mistake raises ConfigError and leaves no folder. In a sweep it, like any failure, is a row with a
    status, and the other runs go on; alone, a run that did not complete ends the process with status 1, and one that
    was stopped with 128 + the signal.
    """
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    alone = hydra.mode == RunMode.RUN
    if config.study is not None:
        from posenc.studies.conduct import conduct  # which draws, and matplotlib takes most of a second

        conduct(config, folder)
        return
    plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    record: dict[str, Any] = {"schema": runs.SCHEMA, "status": "completed", "error": None}
    record |= {group: hydra.runtime.choices[group] for group in ("encoding", "positions", "dataset")}
    record |= {"seed": config.seed, "config_hash": runs.config_hash(plain)}
    record |= {"command": shlex.join(["python", "train.py", *hydra.overrides.task])}
    parts, signum, began = None, None, time.perf_counter()
    runs.claim(folder)
    try:
        parts = prepare(config, folder)
        for logger in parts.trainer.loggers:  # open the logs while the folder is empty, as Lightning's csv logger asks
            _ = getattr(logger, "experiment", None)
        runs.write_text(folder / ".hydra" / "config.yaml", OmegaConf.to_yaml(config, resolve=True))
        record |= train(parts, config.ckpt_path)
        runs.write_positions(folder, parts.module.by_position)
    except ConfigError as error:
        if alone and not any(folder.iterdir()):  # a mistake found before anything was written
            folder.rmdir()
            raise
        record |= {"status": "failed", "error": str(error)}
    except Interrupted as stop:
        signum = stop.signum
        record |= {"status": "interrupted", "error": str(stop)}
    except Diverged as error:
        record |= {"status": "diverged", "error": str(error)}
    except Exception as error:
        record |= {"status": "failed", "error": f"{type(error).__name__}: {error}"}
        runs.write_text(folder / "traceback.txt", traceback.format_exc())
    if parts is not None:
        record |= measured(parts)
    record |= {"wall_seconds": round(time.perf_counter() - began, 3), "versions": versions()}
    runs.write_result(folder, record)
    if alone:
        draw(folder, record, parts)
        summary.print_run(folder, record)
    else:
        summary.print_line(record)
    if signum is not None:
        sys.exit(128 + signum)
    if alone and record["status"] != "completed":
        sys.exit(1)


def prepare(config: DictConfig, folder: Path) -> Parts:
    """Build everything, check the checkpoint, and rehearse one sequence of every length: mistakes show here."""
    parts = build(config, folder)
    if config.ckpt_path is not None:
        check_checkpoint(config.ckpt_path, parts.module)
    parts.module.rehearse()
    parts.data.test_lengths = parts.module.test_lengths
    return parts


def train(parts: Parts, ckpt_path: str | None) -> dict[str, Any]:
    """Fit and test; the scores of every test length, and what they say about lengths that were not trained.

    Raises Interrupted after the step in hand.
    """
    with parts.stop.listening():
        parts.trainer.fit(parts.module, datamodule=parts.data, ckpt_path=ckpt_path, weights_only=True)
        if parts.stop.received is not None:
            raise Interrupted(parts.stop.received)
        parts.trainer.test(parts.module, datamodule=parts.data, verbose=False)
    table: dict[str, dict[str, float]] = {}
    for name, value in parts.trainer.callback_metrics.items():
        if name.startswith("test/"):
            _, length, score = name.split("/")
            table.setdefault(length, {})[score] = value.item()
    for length, scores in table.items():
        scores["sequences"] = parts.data.size(int(length))
    skills = {length: table.get(str(length), {}).get("skill") for length in parts.task.test_lengths}
    return {
        "test": table,
        "undefined": {str(length): reason for length, reason in sorted(parts.module.undefined.items())},
        "length_generalization": summarise(parts.task.length[1], skills),
    }


def draw(folder: Path, record: dict[str, Any], parts: Parts | None) -> None:
    """length.png and by_position.png, where a run has scores at several lengths and of several places.

    A sweep leaves its figures to the report over all of its runs.
    """
    from posenc import figures  # matplotlib takes most of a second

    if len(record.get("test", {})) > 1:
        figures.length_curves(record).savefig(folder / "length.png", dpi=150)
    if parts is not None and parts.module.by_position:
        title = f"{record['dataset']} · encoding={record['encoding']} · seed {record['seed']}"
        figure = figures.position_curves(parts.module.by_position, parts.task.length[1], title)
        figure.savefig(folder / "by_position.png", dpi=150)


def measured(parts: Parts) -> dict[str, Any]:
    """Cost and ceilings of a run, whether or not it came to its end."""
    encoder, watch = parts.module.encoder, parts.stopwatch
    ceilings = {
        str(length): {"order_blind": blind, "order_aware": aware}
        for length, (blind, aware) in sorted(parts.module.ceilings.items())
    }
    return {
        "trained_lengths": list(parts.task.length),
        "parameters": sum(p.numel() for p in encoder.parameters()),
        "encoding_parameters": sum(p.numel() for p in encoder.encodings.parameters()),
        "steps": parts.trainer.global_step,
        "seconds": round(watch.seconds, 3),
        "tokens_per_second": round(watch.tokens / watch.seconds) if watch.seconds else None,
        "ceilings": ceilings,
        "references": parts.module.references,
        "data_digest": parts.task.digest,
    }


def versions() -> dict[str, Any]:
    """What a result may depend on besides its config."""
    return {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("posenc", "torch", "lightning", "hydra-core")},
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
    }
