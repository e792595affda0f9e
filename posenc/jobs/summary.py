"""The output in the terminal when a run or a sweep has ended."""

import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape

from posenc import terminal
from posenc.runs.files import EVENTS, OVERVIEW, SELECTED
from posenc.runs.result import chosen, title

Result = Mapping[str, Any]
STATUS_COLOURS = {"completed": "green", "interrupted": "yellow"}


def _number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _with_error(bits: float | None, error: float | None, size: float) -> str:
    """Bits per `size`, with their standard error if it is known. Results of earlier versions do not have it."""
    if bits is None or error is None:
        return _number(None if bits is None else bits / size, 3)
    return f"{bits / size:.3f} ± {error / size:.3f}"


def _status(result: Result) -> str:
    colour = STATUS_COLOURS.get(result["status"], "red")
    return f"[{colour}]{result['status']}[/{colour}]"


def line(folder: Path, result: Result) -> str:
    """One run of a sweep in one line, with rich's markup. It has the scores at the first and the last test length."""
    tested = list(result.get("test", {}).items())
    scores = [
        f"length {length}: accuracy {row['accuracy']:.4f}" + (f", skill {row['skill']:.3f}" if "skill" in row else "")
        for length, row in dict([*tested[:1], *tested[-1:]]).items()
    ]
    start = [escape(result["dataset"]), escape(chosen(result)[1]), f"seed {result['seed']}"]
    if varied(folder):
        start.append(escape(varied(folder)))
    return f"{' · '.join(start)}: {' · '.join([_status(result), *scores])}{_error(result)}"


def varied(folder: Path) -> str:
    """The values that a sweep varies besides data set, encoding and seed, which are names of folders above."""
    return "" if folder.name.startswith("seed") else folder.name


def print_run(folder: Path, result: Result) -> None:
    """Print a table of one run: scores and ceilings at every test length, and the cost."""
    if result["error"]:
        terminal.say(_status(result) + _error(result), markup=True)
        if (folder / "traceback.txt").exists():
            terminal.say(f"traceback   {folder / 'traceback.txt'}")
    if result.get("test"):
        known = any(row["order_blind"] is not None for row in result["ceilings"].values())
        table = terminal.table(escape(title(result)))
        table.add_column("length", justify="right", no_wrap=True)
        table.add_column("test accuracy", justify="right", no_wrap=True)
        size = result["references"].get("bytes_per_token")
        of_tokens = ["bits a token", "bits a byte", "perplexity"] if size else ["bits a target"]
        names = ["order-blind ceiling", "order-aware ceiling", "skill"] if known else of_tokens
        for name in names:
            table.add_column(name, justify="right", no_wrap=True)
        for length, scores in result["test"].items():
            if known:
                ceilings = result["ceilings"][length]
                row = [_number(ceilings["order_blind"]), _number(ceilings["order_aware"]), _number(scores.get("skill"))]
            else:
                bits, error = scores["bits"], scores.get("bits_standard_error")
                row = [_with_error(bits, error, 1)]
                row += (
                    [_with_error(bits, error, size), _number(None if bits is None else 2.0 ** min(bits, 1023), 1)]
                    if size
                    else []
                )
            accuracy = f"{scores['accuracy']:.4f} ± {scores['accuracy_standard_error']:.4f}"
            table.add_row(length, accuracy, *row)
        for length in result["undefined"]:
            table.add_row(length, "undefined")
        terminal.show(table)
        for name, value in result["references"].items():
            terminal.say(f"{_number(value, 3)} {name.replace('_', ' ')}")
        for length, reason in result["undefined"].items():
            terminal.say(f"length {length} is not tested: {reason}")
        if result["length_generalization"] and len(result["test"]) > 1:
            terminal.say(_beyond(result["length_generalization"]))
    if result.get("start_from"):
        terminal.say(f"started from the weights of {result['start_from']}")
    if result.get("evaluated"):
        terminal.say(f"evaluated   {result['evaluated']['run']}; nothing was trained")
    if "parameters" in result:
        rate = f" · {result['tokens_per_second']:,} tokens/s" if result["tokens_per_second"] else ""
        terminal.say(
            f"{result['parameters']:,} parameters ({result['encoding_parameters']:,} in the encoding) · "
            f"{result['steps']:,} steps in {result['seconds']:.1f} s{rate}"
        )
    terminal.say(f"result      {folder / 'result.json'}")
    if not result.get("evaluated"):  # an evaluation logs nothing
        print_tensorboard(folder)


def print_tensorboard(folder: Path) -> None:
    """Print the command that opens a folder in TensorBoard, for the user's shell.

    For a sweep it opens the overview, if there is one. It prints nothing for runs without TensorBoard (`~logger`).
    """
    if not any(folder.rglob(f"{EVENTS}*")):
        return
    if any((folder / OVERVIEW).rglob(f"{EVENTS}*")):
        folder = folder / OVERVIEW
    script = shutil.which("tensorboard")
    own = script is not None and Path(script).parent == Path(sys.executable).parent
    words = ["tensorboard"] if own else [sys.executable, "-m", "tensorboard.main"]
    command = shlex.join([*words, "--logdir", str(folder)])
    terminal.say(f"TensorBoard {command}")
    runs = len({path.parent for path in folder.rglob(f"{EVENTS}*")})
    if runs > SELECTED:
        terminal.say(
            f"TensorBoard selects none of more than {SELECTED} runs in Scalars, Images and Custom Scalars, and here "
            f"are {runs:,}: press Toggle All Runs there, below the list of runs. Time Series shows them at once."
        )


def _beyond(summary: Mapping[str, float | None]) -> str:
    """A sentence about the scores above the trained length."""
    aulc, k50, last = summary["aulc"], summary["k50"], summary["tested_to"]
    half = f"skill falls to one half at {k50:.2g} times the trained length" if k50 is not None else ""
    area = f"tested to {last:g} times the trained length"
    if aulc is not None:
        area = f"mean skill over log length (AULC) {_number(aulc, 3)}, {area}"
    return " · ".join(part for part in (area, half) if part)


def print_sweep(root: Path, runs: Iterable[tuple[Path, Result]]) -> None:
    """Print a table of all runs below a sweep folder: the best of each data set first, failed runs last.

    The scores are for the shortest and the longest test length. A value that is the same for all runs is in the title.
    """
    runs = sorted(runs, key=_rank)
    if not runs:
        return
    columns: dict[str, list[str]] = {
        "dataset": [escape(result["dataset"]) for _, result in runs],
        "encoding": [escape(chosen(result)[1]) for _, result in runs],
        "seed": [str(result["seed"]) for _, result in runs],
        "varied": [escape(varied(folder)) or "–" for folder, _ in runs],
        "status": [_status(result) for _, result in runs],
    }
    columns |= _scores([result.get("test", {}) for _, result in runs])
    columns["parameters"] = [f"{result['parameters']:,}" if "parameters" in result else "–" for _, result in runs]
    columns["train s"] = [_number(result.get("seconds"), 1) for _, result in runs]
    kept = {name: cells for name, cells in columns.items() if set(cells) != {"–"}}
    title = [f"{len(runs)} runs"]
    for name, said in (("status", "{}"), ("seed", "seed {}")):
        if len(set(kept[name])) == 1 and len(runs) > 1:
            title.append(said.format(kept.pop(name)[0]))
    if len(set(kept["encoding"])) == 1 and "varied" in kept:  # leaves space for the varied values
        title.insert(0, kept.pop("encoding")[0])
    if len(set(kept["dataset"])) == 1:
        title.insert(0, kept.pop("dataset")[0])
        title += _achievable(result for _, result in runs)
    table = terminal.table("")
    words = ("dataset", "encoding", "varied", "status")
    for name in kept:
        if name in words:
            table.add_column(name, no_wrap=name != "varied", overflow="fold")
        else:
            terminal.numbers(table, name)
    for row in zip(*kept.values(), strict=True):
        table.add_row(*row)
    terminal.say(f"\n[bold]{' · '.join(title)}[/bold]", markup=True)
    terminal.show(table)
    for error, names in _errors(root, runs).items():
        told = names[0] if len(names) == 1 else f"{len(names)} runs, such as {names[0]}"
        terminal.say(f"{told}: {error}")


def _errors(root: Path, runs: Iterable[tuple[Path, Result]]) -> dict[str, list[str]]:
    """{error: names of the runs that failed with it}."""
    found: dict[str, list[str]] = {}
    for folder, result in runs:
        if result["error"]:
            name = folder.relative_to(root) if folder.is_relative_to(root) else folder
            found.setdefault(result["error"], []).append(str(name))
    return found


def _rank(run: tuple[Path, Result]) -> tuple[Any, ...]:
    """The sort key: data set, whether there are scores, then skill or bits at the shortest and the longest length."""
    folder, result = run
    tested = list(result.get("test", {}).values())
    ends = [row.get("skill", -row.get("bits", -row["accuracy"])) for row in (*tested[:1], *tested[-1:])]
    return result["dataset"], not ends, [-score for score in ends], folder


def _scores(tests: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, list[str]]:
    """Accuracy at the shortest length; skill, or otherwise bits, at the shortest and the longest length."""
    known = any("skill" in row for test in tests for row in test.values())
    columns: dict[str, list[str]] = {}
    measure = "skill" if known else "bits"
    for name, digits, end in (("accuracy", 4, 0), (measure, 3, 0), (measure, 3, -1)):
        rows = [[*test.items()][end] if test else ("", {}) for test in tests]
        lengths = {length for length, _ in rows} - {""}
        place = lengths.pop() if len(lengths) == 1 else ("shortest", "longest")[end]
        columns[f"{name} {place}"] = [_number(scores.get(name), digits) for _, scores in rows]
    return columns


def _achievable(results: Iterable[Result]) -> list[str]:
    """The ceilings at the shortest length, if they are known and the same for all."""
    ceilings = [tuple(next(iter(result["ceilings"].values())).values()) for result in results if "ceilings" in result]
    if len(set(ceilings)) != 1 or None in ceilings[0]:
        return []
    return [f"order-blind ceiling {ceilings[0][0]:.4f}", f"order-aware {ceilings[0][1]:.4f}"]


def _error(result: Result) -> str:
    return f": {escape(result['error'])}" if result["error"] else ""
