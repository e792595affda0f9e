"""The tasks: `python -m posenc.catalog.tasks` lists them with what is achievable, `... rel_pattern` explains one."""

import argparse
import inspect
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from rich.console import Console
from rich.markup import escape

from posenc import checks, tables
from posenc.checks import ConfigError
from posenc.config.build import make
from posenc.tasks.base import Task
from posenc.terminal import printing

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
COLUMNS = ("task", "asks", "answers", "length", "order-blind", "order-aware")


@dataclass(frozen=True)
class Entry:
    """One `dataset=NAME`."""

    name: str
    task: Task
    question: str

    @property
    def cells(self) -> tuple[str, ...]:
        """Its row in the table."""
        length = self.task.length[1]
        shown = ("–" if ceiling is None else f"{ceiling:.3f}" for ceiling in self.task.ceilings(length))
        answers = {"per_token": "a token", "mean": "a sequence", "query": "a sequence", "last": "a sequence"}
        return self.name, self.question, answers[self.task.readout], str(length), *shown


def entries(names: Sequence[str] = ()) -> Iterator[Entry]:
    """The tasks of configs/dataset, by name; only `names` if there are any."""
    files = {file.stem: file for file in sorted((CONFIGS / "dataset").glob("*.yaml"))}
    for name in names:
        checks.one_of("tasks", files, dataset=name)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        for name in names or files:
            question = files[name].read_text().splitlines()[0].removeprefix("# ")
            yield Entry(name, make(compose("train", overrides=[f"dataset={name}"]), "dataset"), question)


def print_table(found: Sequence[Entry]) -> None:
    """All tasks in the terminal."""
    console = Console()
    console.width = console.width if console.is_terminal else 150
    title = f"{len(found)} tasks · ceilings of accuracy at the default length"
    table = tables.table(title)
    for column in COLUMNS:
        table.add_column(column, justify="right" if column in COLUMNS[3:] else "left", no_wrap=column == "task")
    for entry in found:
        table.add_row(*map(escape, entry.cells))
    console.print(table)


def markdown(found: Sequence[Entry]) -> str:
    """The page docs/tasks.md."""
    lines = [
        "# The tasks",
        "",
        "Made by `python -m posenc.catalog.tasks --markdown > docs/tasks.md`; a test holds that it is up to date. "
        "Ceilings are of accuracy at the default length: the best of any model that sees only the bag of tokens, and "
        "of any model. Where both are equal no encoding can help, and skill is undefined.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "---|" * len(COLUMNS),
    ]
    for entry in found:
        name, *cells = (cell.replace("|", "\\|") for cell in entry.cells)
        lines.append(f"| [{name}](#{entry.name}) | " + " | ".join(cells) + " |")
    for entry in found:
        lines += ["", f"## {entry.name}", "", "```text", inspect.getdoc(type(entry.task)) or "", "```", ""]
        lines += [f"`python train.py dataset={entry.name}`"]
    return "\n".join(lines) + "\n"


@printing()
def main(words: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        "python -m posenc.catalog.tasks", description="Every task, and what is achievable."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="tasks to explain; none: the whole table")
    parser.add_argument("--markdown", action="store_true", help="print the documentation page instead")
    asked = parser.parse_args(words)
    try:
        found = list(entries(asked.names))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    if asked.markdown:
        print(markdown(found), end="")
    elif asked.names:
        for entry in found:
            print(f"{entry.name}: {entry.question}\n\n{inspect.getdoc(type(entry.task))}\n")
    else:
        print_table(found)


if __name__ == "__main__":
    main()
