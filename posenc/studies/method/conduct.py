"""One study, from a composed config to a folder with its numbers, its figure and its verdicts.

<run folder>/.hydra/config.yaml  the resolved record of what was run
             study.csv           every number: quantity, arm, at, seed, value
             figure.png, .svg    the figure
             verdict.json        the claims, what came out, and the intervals
             study.json          status, summary, cost, versions; written last, atomically
             answers.jsonl       what is known so far of a study that is not finished (posenc.studies.method.workers)
"""

import json
import os
import platform
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from posenc import terminal
from posenc.checks import ConfigError
from posenc.config.build import check_seed
from posenc.config.effect import typed_words
from posenc.config.make import make
from posenc.figures.marks import entitle
from posenc.figures.style import look, save
from posenc.runs import reading
from posenc.runs.folder import lock_folder
from posenc.runs.identity import digest
from posenc.runs.result import RESULT, SCHEMA, STUDY, other_layout
from posenc.runs.writing import write_text
from posenc.statistics.claims import CONTRADICTED, DIRECTION_ONLY, REPRODUCED, Verdict, verdicts
from posenc.statistics.measurements import Measurements, is_row
from posenc.studies.method.base import Study
from posenc.studies.method.workers import Ledger, Workers, one_thread
from posenc.terminal import TRAIN

ANSWERS = "answers.jsonl"
OUTCOME_COLOURS = {REPRODUCED: "green", DIRECTION_ONLY: "yellow", CONTRADICTED: "red"}


def conduct(config: DictConfig, folder: Path) -> None:
    """Measure, judge, draw, write, print. What goes wrong before anything is measured leaves no folder."""
    seed = check_seed(config.seed)
    with lock_folder(folder, wait=False):
        plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
        identity = digest({"study": plain["study"], "seed": seed})
        study: Study = make(config, "study", Study)
        known = _finished(folder, identity)
        if known is not None and not config.force:
            print("this study is finished: what follows is its result; force=true measures it anew")
            _show(study, known, verdicts(study.claims, known))
            return
        ledger = _ledger(folder, identity, again=known is not None)
        resumed = bool(ledger.known)
        study.workers = Workers(config.threads, ledger)
        began, processor = time.perf_counter(), _processor_seconds()
        with one_thread(), _kept(ledger, folder):
            found = study.measure(seed)
        judged = verdicts(study.claims, found)
        seconds, processor = time.perf_counter() - began, _processor_seconds() - processor
        save(draw(study, found, judged), folder / "figure")
        write_text(folder / ".hydra" / "config.yaml", OmegaConf.to_yaml(config, resolve=True))
        write_text(folder / "study.csv", found.csv())
        write_text(folder / "verdict.json", json.dumps([asdict(verdict) for verdict in judged], indent=2) + "\n")
        record = {
            "schema": SCHEMA,
            "status": "completed",
            "study": plain["study"]["_target_"],
            "seed": seed,
            "seeds": study.seeds,
            "config_hash": identity,
            "command": shlex.join([*TRAIN.split(), *typed_words(HydraConfig.get())]),
            "verdicts": {verdict.statement: verdict.outcome for verdict in judged},
            "summary": study.summary(found),
            "wall_seconds": round(seconds, 3),
            "processor_seconds": round(processor, 3),
            "resumed": resumed,  # then the seconds are of the rest
            "versions": {
                "python": platform.python_version(),
                **{name: metadata.version(name) for name in ("posenc", "torch", "hydra-core")},
                "machine": platform.machine(),
                "threads": 1,  # of each process
            },
        }
        write_text(folder / STUDY, json.dumps(record, indent=2) + "\n")
        (folder / ANSWERS).unlink()  # it is in study.csv
    console = _show(study, found, judged)
    cost = f"{study.seeds} seed{'s' * (study.seeds > 1)} in {seconds:.1f} s, {processor:.1f} s of processor time"
    console.print(f"{cost} · {folder}/figure.png", soft_wrap=True, highlight=False)


def _show(study: Study, found: Measurements, judged: Sequence[Verdict]) -> Console:
    """Tables and verdicts in the terminal."""
    console = Console()
    for table in study.tables(found):
        terminal.show(table)
    tell(console, judged)
    return console


def _finished(folder: Path, identity: str) -> Measurements | None:
    """What this study has found in this folder before. Raises ConfigError for a record of another posenc."""
    try:
        record = reading.read_json(folder / STUDY)
        why = other_layout(record) if isinstance(record, dict) else None
        if why is not None:
            raise ConfigError(f"{folder / STUDY} is not touched: {why}, or choose another hydra.run.dir.")
        if not isinstance(record, dict) or record.get("config_hash") != identity:
            return None  # it is refused as another's
        return Measurements.read(reading.read_table(folder / "study.csv").decode("utf-8"))
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        return None


def _processor_seconds() -> float:
    """Of this process and of those that it started and that have ended."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


@look()
def draw(study: Study, found: Measurements, judged: Sequence[Verdict]) -> Figure:
    """The figure of a study under its first verdict, and how many of all its claims came out how."""
    figure = study.figure(found, judged)
    figure.set_figheight(figure.get_figheight() + entitle(figure, finding(judged)))
    return figure


def finding(judged: Sequence[Verdict]) -> str:
    """The outcome first, then the claim with what was measured, then the outcomes of all claims."""
    if not judged:
        return ""
    first = judged[0]
    measured = ""
    if first.estimate is not None:
        ends = "" if first.low is None or first.high is None else f" [{first.low:.3g}, {first.high:.3g}]"
        measured = f" (difference {first.estimate:.3g}{ends}; {first.seeds} seed{'s' * (first.seeds != 1)})"
    text = f"{first.outcome}: {first.statement.rstrip('.')}{measured}"
    counts = Counter(verdict.outcome for verdict in judged)
    if len(judged) > 1:
        text += f". All {len(judged)} claims: " + ", ".join(f"{number} {outcome}" for outcome, number in counts.items())
    return text


def _ledger(folder: Path, identity: str, again: bool) -> Ledger:
    """The answers of this study so far; a folder that holds something else is refused.

    again  this very study is finished here and is measured anew; its result stays until the new one is written
    """
    if not again and any((folder / name).exists() for name in (RESULT, STUDY, "metrics.csv", "checkpoints")):
        raise ConfigError(
            f"{folder} already holds a run, which would be overwritten; choose another hydra.run.dir "
            "(or hydra.sweep.dir), or delete it."
        )
    ledger = Ledger.open(folder / ANSWERS, identity, is_row)
    if ledger is None:
        raise ConfigError(
            f"{folder} holds the beginning of another study, which would be lost; choose another hydra.run.dir, or "
            "delete it."
        )
    if ledger.known:
        print(f"going on in {folder}; answers known so far: {len(ledger.known)}", flush=True)
    return ledger


@contextmanager
def _kept(ledger: Ledger, folder: Path) -> Iterator[None]:
    """If it is stopped: say how to go on, or leave nothing where nothing was found."""
    try:
        yield
    except BaseException:
        if ledger.known:
            where = f"hydra.run.dir={shlex.quote(str(folder))}"
            print(f"what was found is kept: the same command with {where} goes on", file=sys.stderr, flush=True)
        else:
            (folder / ANSWERS).unlink()
        raise


def tell(console: Console, judged: Sequence[Verdict]) -> None:
    """Each claim in two lines: the outcome and the sentence; the numbers that it rests on."""
    for verdict in judged:
        colour = OUTCOME_COLOURS.get(verdict.outcome, "cyan")
        console.print(f"[bold {colour}]{verdict.outcome}[/]  {verdict.statement}", highlight=False)
        console.print(f"    {evidence(verdict)}", highlight=False, soft_wrap=True)


def evidence(verdict: Verdict) -> str:
    """The contrast, its estimate and interval, what would have mattered, and what to know besides."""
    text = verdict.contrast
    if verdict.estimate is not None:
        text += f": difference {verdict.estimate:.3g}"
    if verdict.low is not None and verdict.high is not None and verdict.low < verdict.high:
        text += f" [{verdict.low:.3g}, {verdict.high:.3g}]"
    text += f", smallest effect {verdict.smallest_effect:g}"
    if verdict.gate is not None:
        text += f"; gate: {verdict.gate}"
    return text + (f"; {verdict.note}" if verdict.note else "")
