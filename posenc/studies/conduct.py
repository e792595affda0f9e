"""One study, from a composed config to a folder with its numbers, its figure and its verdicts.

<run folder>/.hydra/config.yaml  the resolved record of what was run
             study.csv           every number: quantity, arm, at, seed, value
             figure.png, .svg    the figure
             verdict.json        the claims, what came out, and the intervals
             study.json          status, summary, cost, versions; written last, atomically
"""

import json
import os
import platform
import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import matplotlib
from hydra.core.hydra_config import HydraConfig
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from posenc import runs
from posenc.build import check_seed, make
from posenc.checks import ConfigError
from posenc.studies.base import Study
from posenc.studies.workers import one_thread
from posenc.verdicts import CONTRADICTED, DIRECTION_ONLY, REPRODUCED, Verdict, verdicts

COLOURS = {REPRODUCED: "green", DIRECTION_ONLY: "yellow", CONTRADICTED: "red"}


def conduct(config: DictConfig, folder: Path) -> None:
    """Measure, judge, draw, write, print. What goes wrong leaves no folder."""
    seed = check_seed(config.seed)
    _make(folder)
    began, processor = time.perf_counter(), _processor_seconds()
    try:
        study: Study = make(config, "study")
        study.workers = config.threads
        with one_thread():
            found = study.measure(seed)
        judged = verdicts(study.claims, found)
    except BaseException:
        if not any(folder.iterdir()):
            folder.rmdir()
        raise
    seconds, processor = time.perf_counter() - began, _processor_seconds() - processor
    figure = study.figure(found, judged)
    plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    runs.write_text(folder / ".hydra" / "config.yaml", OmegaConf.to_yaml(config, resolve=True))
    runs.write_text(folder / "study.csv", found.csv())
    runs.write_text(folder / "verdict.json", json.dumps([asdict(verdict) for verdict in judged], indent=2) + "\n")
    save(figure, folder)
    hydra = HydraConfig.get()
    record = {
        "schema": runs.SCHEMA,
        "status": "completed",
        "study": plain["study"]["_target_"],
        "seed": seed,
        "seeds": study.seeds,
        "config_hash": runs.digest({"study": plain["study"], "seed": seed}),
        "command": shlex.join(["python", "train.py", *hydra.overrides.task]),
        "verdicts": {verdict.statement: verdict.outcome for verdict in judged},
        "summary": study.summary(found),
        "wall_seconds": round(seconds, 3),
        "processor_seconds": round(processor, 3),
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("posenc", "torch", "hydra-core")},
            "machine": platform.machine(),
            "threads": 1,  # of each process
        },
    }
    runs.write_text(folder / runs.STUDY, json.dumps(record, indent=2) + "\n")
    console = Console()
    for table in study.tables(found):
        console.print(table)
    tell(console, judged)
    cost = f"{study.seeds} seed{'s' * (study.seeds > 1)} in {seconds:.1f} s, {processor:.1f} s of processor time"
    console.print(f"{cost} · {folder}/figure.png", soft_wrap=True, highlight=False)


def _processor_seconds() -> float:
    """Of this process and of those that it started and that have ended."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _make(folder: Path) -> None:
    """Make the run folder; refuse one that already holds something."""
    if any((folder / name).exists() for name in (runs.RESULT, runs.STUDY, "metrics.csv", "checkpoints")):
        raise ConfigError(
            f"{folder} already holds a run, which would be overwritten; choose another hydra.run.dir "
            "(or hydra.sweep.dir), or delete it."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"the run folder {folder} cannot be written ({error.strerror}).") from error


def save(figure: Figure, folder: Path) -> None:
    """figure.png and figure.svg, the same bytes from the same numbers."""
    with matplotlib.rc_context({"svg.hashsalt": "posenc"}):
        figure.savefig(folder / "figure.png", dpi=150)
        figure.savefig(folder / "figure.svg", metadata={"Date": None})


def tell(console: Console, judged: Sequence[Verdict]) -> None:
    """Each claim in two lines: the outcome and the sentence; the numbers that it rests on."""
    for verdict in judged:
        colour = COLOURS.get(verdict.outcome, "cyan")
        console.print(f"[bold {colour}]{verdict.outcome}[/]  {verdict.statement}", highlight=False)
        console.print(f"    {evidence(verdict)}", highlight=False, soft_wrap=True)


def evidence(verdict: Verdict) -> str:
    """The contrast, its estimate and interval, what would have mattered, and what to know besides."""
    text = f"{verdict.contrast}: difference {verdict.estimate:.3g}"
    if verdict.low is not None and verdict.high is not None and verdict.low < verdict.high:
        text += f" [{verdict.low:.3g}, {verdict.high:.3g}]"
    text += f", smallest effect {verdict.smallest_effect:g}"
    if verdict.gate is not None:
        text += f"; gate: {verdict.gate}"
    return text + (f"; {verdict.note}" if verdict.note else "")
