"""Runs the study of a config, and writes its numbers, figure and verdicts into a folder.

<run folder>/.hydra/config.yaml  the resolved config
             study.csv           all measurements: quantity, arm, at, seed, value
             figure.png, .svg    the figure
             verdict.json        the claims with verdicts and intervals
             study.json          status, summary, cost, versions; written last, atomically
             answers.jsonl       the answers of an unfinished study (posenc.studies.method.workers)
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
from posenc.runs.result import CONFIG_FILE, RESULT, SCHEMA, STUDY, other_layout
from posenc.runs.writing import write_text
from posenc.statistics.claims import CONTRADICTED, DIRECTION_ONLY, REPRODUCED, Verdict, verdicts
from posenc.statistics.measurements import Measurements, is_row
from posenc.studies.method.base import Study
from posenc.studies.method.workers import Ledger, Workers, one_thread
from posenc.terminal import TRAIN, count

ANSWERS = "answers.jsonl"
OUTCOME_COLOURS = {REPRODUCED: "green", DIRECTION_ONLY: "yellow", CONTRADICTED: "red"}


def conduct(config: DictConfig, folder: Path) -> None:
    """Measure, judge, draw, write, print. An error before the first measurement leaves no folder."""
    seed = check_seed(config.seed)
    with lock_folder(folder, wait=False):
        plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
        identity = digest({"study": plain["study"], "seed": seed})
        study: Study = make(config, "study", Study)
        known = _finished(folder, identity)
        if known is not None and not config.force:
            print("this study is finished, and its result follows; force=true measures it again")
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
        write_text(folder / CONFIG_FILE, OmegaConf.to_yaml(config, resolve=True))
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
            "resumed": resumed,  # if true, the seconds are those since the study was resumed
            "versions": {
                "python": platform.python_version(),
                **{name: metadata.version(name) for name in ("posenc", "torch", "hydra-core")},
                "machine": platform.machine(),
                "threads": 1,  # of each process
            },
        }
        write_text(folder / STUDY, json.dumps(record, indent=2) + "\n")
        (folder / ANSWERS).unlink()  # study.csv has these answers
    console = _show(study, found, judged)
    cost = f"{count(study.seeds, 'seed')} in {seconds:.1f} s, {processor:.1f} s of processor time"
    console.print(f"{cost} · {folder}/figure.png", soft_wrap=True, highlight=False)


def _show(study: Study, found: Measurements, judged: Sequence[Verdict]) -> Console:
    """Print tables and verdicts."""
    console = Console()
    for table in study.tables(found):
        terminal.show(table)
    tell(console, judged)
    return console


def _finished(folder: Path, identity: str) -> Measurements | None:
    """The measurements of this study, if it is finished. Raises ConfigError for a record of another layout."""
    try:
        record = reading.read_json(folder / STUDY)
        why = other_layout(record) if isinstance(record, dict) else None
        if why is not None:
            raise ConfigError(f"{folder / STUDY} is kept: {why}, or choose another hydra.run.dir.")
        if not isinstance(record, dict) or record.get("config_hash") != identity:
            return None  # `_ledger` refuses it as another study
        return Measurements.read(reading.read_table(folder / "study.csv").decode("utf-8"))
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        return None


def _processor_seconds() -> float:
    """Processor seconds of this process and of its finished children."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


@look()
def draw(study: Study, found: Measurements, judged: Sequence[Verdict]) -> Figure:
    """The figure of a study with `finding` as its title."""
    figure = study.figure(found, judged)
    figure.set_figheight(figure.get_figheight() + entitle(figure, finding(judged)))
    return figure


def finding(judged: Sequence[Verdict]) -> str:
    """The first verdict with its claim and measurement, then the number of claims with each outcome."""
    if not judged:
        return ""
    first = judged[0]
    measured = ""
    if first.estimate is not None:
        seeds = count(first.seeds, "seed")
        if first.low is None or first.high is None:
            measured = f" (difference {first.estimate:.3g}; {seeds})"
        elif first.low == first.high:
            measured = f" (difference exactly {first.estimate:.3g}; {seeds})"
        else:
            measured = f" (difference {first.estimate:.3g} [{first.low:.3g}, {first.high:.3g}]; {seeds})"
    text = f"{first.outcome}: {first.statement.rstrip('.')}{measured}"
    counts = Counter(verdict.outcome for verdict in judged)
    if len(judged) > 1:
        text += f". All {len(judged)} claims: " + ", ".join(f"{number} {outcome}" for outcome, number in counts.items())
    return text


def _ledger(folder: Path, identity: str, again: bool) -> Ledger:
    """The answers of this study so far. Raises ConfigError if the folder contains anything else.

    again  whether the folder has the result of this study, which is measured again; it stays until the new one is there
    """
    if not again and any((folder / name).exists() for name in (RESULT, STUDY, "metrics.csv", "checkpoints")):
        raise ConfigError(
            f"{folder} already contains a run, which would be overwritten; choose another hydra.run.dir "
            "(or hydra.sweep.dir), or delete the folder."
        )
    ledger = Ledger.open(folder / ANSWERS, identity, is_row)
    if ledger is None:
        raise ConfigError(
            f"{folder} contains the beginning of another study, which would be lost; choose another hydra.run.dir, or "
            "delete the folder."
        )
    if ledger.known:
        print(f"continuing in {folder}; answers so far: {len(ledger.known)}", flush=True)
    return ledger


@contextmanager
def _kept(ledger: Ledger, folder: Path) -> Iterator[None]:
    """Inside, an exception prints how to continue, or removes the ledger if it has no answers."""
    try:
        yield
    except BaseException:
        if ledger.known:
            where = f"hydra.run.dir={shlex.quote(str(folder))}"
            print(f"the answers are kept: continue with the same command and {where}", file=sys.stderr, flush=True)
        else:
            (folder / ANSWERS).unlink()
        raise


def tell(console: Console, judged: Sequence[Verdict]) -> None:
    """Print two lines for each claim: the outcome with the statement, and the evidence."""
    for verdict in judged:
        colour = OUTCOME_COLOURS.get(verdict.outcome, "cyan")
        console.print(f"[bold {colour}]{verdict.outcome}[/]  {verdict.statement}", highlight=False)
        console.print(f"    {evidence(verdict)}", highlight=False, soft_wrap=True)


def evidence(verdict: Verdict) -> str:
    """The contrast with its estimate, interval, smallest effect, gate and note."""
    text = verdict.contrast
    if verdict.estimate is not None:
        text += f": difference {verdict.estimate:.3g}"
    if verdict.low is not None and verdict.high is not None and verdict.low < verdict.high:
        text += f" [{verdict.low:.3g}, {verdict.high:.3g}]"
    text += f", smallest effect {verdict.smallest_effect:g}"
    if verdict.gate is not None:
        text += f"; gate: {verdict.gate}"
    return text + (f"; {verdict.note}" if verdict.note else "")
