"""What a user reads in the terminal when a run or a sweep has ended."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

Result = Mapping[str, Any]
COLOURS = {"completed": "green", "interrupted": "yellow"}


def _number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _status(result: Result) -> str:
    colour = COLOURS.get(result["status"], "red")
    return f"[{colour}]{result['status']}[/{colour}]"


def print_run(folder: Path, result: Result) -> None:
    """A table of one run: every test length beside what is achievable, and what it cost."""
    console = Console()
    if result["error"]:
        console.print(f"{_status(result)}: {escape(result['error'])}")
        if (folder / "traceback.txt").exists():
            console.print(f"traceback: {folder / 'traceback.txt'}", soft_wrap=True)
    if result.get("test"):
        unknown = all(blind is None for blind in (row["order_blind"] for row in result["ceilings"].values()))
        table = Table(title=f"{result['dataset']} · encoding={result['encoding']} · seed {result['seed']}")
        names = ["length", "test accuracy", *(["bits", *result["references"]] if unknown else [])]
        names += [] if unknown else ["order-blind ceiling", "order-aware ceiling", "skill"]
        for name in names:
            table.add_column(name.replace("_", " "), justify="right")
        for length, scores in result["test"].items():
            row = [length, f"{scores['accuracy']:.4f} ± {scores['accuracy_standard_error']:.4f}"]
            if unknown:
                row += [_number(scores["bits"], 3), *(_number(value, 3) for value in result["references"].values())]
            else:
                ceilings = result["ceilings"][length]
                row += [_number(ceilings["order_blind"]), _number(ceilings["order_aware"])]
                row += [_number(scores.get("skill"))]
            table.add_row(*row)
        console.print(table)
    if "parameters" in result:
        rate = f" · {result['tokens_per_second']:,} tokens/s" if result["tokens_per_second"] else ""
        console.print(
            f"{result['parameters']:,} parameters ({result['encoding_parameters']:,} in the encoding) · "
            f"{result['steps']:,} steps in {result['seconds']:.1f} s{rate}"
        )
    console.print(f"result      {folder / 'result.json'}", soft_wrap=True, highlight=False)
    console.print(f"TensorBoard tensorboard --logdir {folder}", soft_wrap=True, highlight=False)


def print_sweep(root: Path, runs: Iterable[tuple[Path, Result]]) -> None:
    """A table of all runs below a sweep folder, one a row, at the longest training length."""
    table = Table(title=f"sweep {root.name}")
    for name in ("dataset", "encoding", "seed", "status", "test accuracy", "skill", "bits", "parameters", "steps", "s"):
        table.add_column(name, justify="left" if name in ("dataset", "encoding", "status") else "right")
    errors = []
    for folder, result in runs:
        scores = next(iter(result.get("test", {}).values()), {})
        table.add_row(
            result["dataset"],
            result["encoding"],
            str(result["seed"]),
            _status(result),
            _number(scores.get("accuracy")),
            _number(scores.get("skill")),
            _number(scores.get("bits"), 3),
            f"{result.get('parameters', 0):,}",
            f"{result.get('steps', 0):,}",
            _number(result.get("seconds"), 1),
        )
        if result["error"]:
            errors.append(f"{folder.relative_to(root)}: {result['error']}")
    console = Console()
    console.print(table)
    for error in errors:
        console.print(error, soft_wrap=True, markup=False)
    console.print(f"TensorBoard tensorboard --logdir {root}", soft_wrap=True, highlight=False)
