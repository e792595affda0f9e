"""`python -m posenc evaluate`: tests trained runs again, at other lengths, under another scaling or on other data.

An evaluation has its own folder beside the run:

    runs/<name>/                                the run, which stays as it is
    runs/evaluations/<name>/<what is changed>/  .hydra/config.yaml, result.json, by_position.csv, figures
"""

import os
import shlex
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from rich.console import Console

from posenc import checks
from posenc.checks import ConfigError
from posenc.jobs import outcome, summary
from posenc.jobs.launch import folder_name
from posenc.runs.folder import lock_folder, read_result
from posenc.runs.processes import thread_limit, threads_of
from posenc.runs.result import CONFIG_FILE, RESULT, write_positions
from posenc.runs.writing import write_text
from posenc.terminal import count
from posenc.trained.change import LENGTHS, each_evaluation
from posenc.trained.evaluate import Evaluation, build, test
from posenc.trained.load import record_of_run

EVALUATIONS = "evaluations"
"""The folder with evaluations, beside the runs."""
UNCHANGED = "as_trained"
"""The folder of an evaluation that changes only the test lengths."""


def show(runs: Sequence[Path], words: Sequence[str] = (), lengths: str | None = None, trust: bool = False) -> None:
    """Evaluate every run under every change that the words name. All checks are made before the first test."""
    asked = each_evaluation(words)
    tested = None if lengths is None else _lengths(lengths, words)
    records = [record_of_run(folder) for folder in chosen(runs)]
    evaluations = [Evaluation(record, each, tested, trust) for record in records for each in asked]
    results = [finished(each) for each in evaluations]
    waiting = [each for each, result in zip(evaluations, results, strict=True) if result is None]
    for one in _one_of_each(waiting) if len(waiting) > 1 else ():
        build(one, place(one))
    for each, result in zip(evaluations, results, strict=True):
        with thread_limit(threads_of(each.config)):
            result = evaluate(each, alone=len(evaluations) == 1) if result is None else result
        if len(evaluations) == 1:
            summary.print_run(place(each), result)
        else:
            Console().print(summary.line(place(each), result), soft_wrap=True, highlight=False)
    roots = [*dict.fromkeys(str(place(each).parents[1]) for each in evaluations)]
    print(f"report      {shlex.join(['python', '-m', 'posenc', 'report', *roots])}")


def _lengths(text: str, words: Sequence[str]) -> list[int]:
    if any(word.lstrip("+").startswith(f"{LENGTHS}=") for word in words):
        raise ConfigError(f"--lengths and {LENGTHS} both set the test lengths; leave one out.")
    try:
        lengths = [int(each) for each in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"--lengths must be whole numbers and commas, got {text!r}; write 64,128.") from error
    for length in lengths:
        checks.positive("evaluate", **{"each of --lengths": length})
    return lengths


def chosen(named: Sequence[Path]) -> list[Path]:
    """The run folders that are named, each once. A name may be a run, a sweep or a glob.

    If there are several runs, incomplete runs are left out. A single incomplete run raises an error when it is read.
    """
    found: dict[Path, Path] = {}
    for path in named:
        matches = [path] if path.exists() else _matches(path) or [path]
        for match in matches:
            runs = [match] if _is_run(match) else [*_below(match)] if match.name != EVALUATIONS else []
            found |= {run.resolve(): run for run in runs or ([match] if len(named) == len(matches) == 1 else [])}
    if len(found) == 1:
        return [*found.values()]
    completed = [run for run in found.values() if (read_result(run) or {}).get("status") == "completed"]
    if not completed:
        raise ConfigError(f"no completed run in {', '.join(map(str, named))}; give the folder of a run, runs/<name>.")
    if len(completed) < len(found):
        print(f"{count(len(found) - len(completed), 'run')} did not complete and cannot be evaluated")
    return completed


def _matches(pattern: Path) -> list[Path]:
    return sorted(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor))))


def _is_run(folder: Path) -> bool:
    return (folder / RESULT).is_file() or (folder / CONFIG_FILE).is_file()


def _below(root: Path) -> Iterator[Path]:
    for here, below, files in os.walk(root):
        below[:] = sorted(name for name in below if name != EVALUATIONS and name[0] != ".")
        if RESULT in files:
            yield Path(here)


def place(evaluation: Evaluation) -> Path:
    """The folder of an evaluation. If the test lengths differ from the run's, they are part of the name."""
    run = evaluation.run.folder
    words = [*evaluation.words]
    if evaluation.lengths is not None:
        words.append(f"lengths={'-'.join(map(str, evaluation.lengths))}")
    name = folder_name("_".join(words)) or UNCHANGED
    return run.parent / EVALUATIONS / (run.name or run.resolve().name) / name


def _one_of_each(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """The first of each group of evaluations that differ only in the seed of their run."""
    return [*{(repr(each.words), each.config.evaluated.config): each for each in reversed(evaluations)}.values()][::-1]


def finished(evaluation: Evaluation) -> dict[str, Any] | None:
    """The result, if this evaluation was done before with the same config, weights and data; otherwise None."""
    result = read_result(place(evaluation))
    record = evaluation.record
    if result is None or result["status"] != "completed" or result.get("config_hash") != record["config_hash"]:
        return None
    return result if record["data_digest"] in (None, result.get("data_digest")) else None


def evaluate(evaluation: Evaluation, alone: bool = True) -> dict[str, Any]:
    """Test the run, write the result and return it. Only an earlier evaluation with the same name is replaced.

    alone  whether to draw figures; a report draws the figures of several evaluations
    """
    folder, began = place(evaluation), time.perf_counter()
    for above in folder.parents[:2]:
        if above.is_symlink():
            raise ConfigError(f"{above} is a link to another folder; remove it.")
    parts = build(evaluation, folder)
    record = dict(evaluation.record)
    record["data_digest"] = record["data_digest"] or parts.module.task.digest
    record["command"] = command(evaluation)
    with lock_folder(folder, wait=False):
        there = read_result(folder)
        if (there is None or "evaluated" not in there) and _is_run(folder):
            raise ConfigError(f"{folder} is no evaluation, and its content would be overwritten; move the folder.")
        record |= test(parts)
        record |= {"wall_seconds": round(time.perf_counter() - began, 3), "versions": outcome.versions()}
        (folder / RESULT).unlink(missing_ok=True)
        write_text(folder / CONFIG_FILE, OmegaConf.to_yaml(evaluation.config))
        write_positions(folder, parts.module.by_position)
        if alone:
            outcome.draw(folder, record, parts.module)
        outcome.write(folder, record)
    return record


def command(evaluation: Evaluation) -> str:
    """The command that makes this evaluation again."""
    words = ["--set", *evaluation.words] if evaluation.words else []
    if evaluation.lengths is not None:
        words.append(f"--lengths={','.join(map(str, evaluation.lengths))}")
    return shlex.join(["python", "-m", "posenc", "evaluate", str(evaluation.run.folder), *words])
