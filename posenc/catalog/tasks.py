"""`python -m posenc tasks` lists the tasks with their ceilings; `python -m posenc tasks rel_pattern` explains one."""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import fill

from posenc import terminal
from posenc.catalog.page import chosen, configured, heading, markdown_table, print_table
from posenc.config.make import make
from posenc.tasks.base import Task

COLUMNS = ("task", "asks", "answers", "length", "order-blind", "order-aware")
SPARE = ("length", "answers", "order-aware", "order-blind")
"""The columns that a narrow terminal leaves out, in this order."""


@dataclass(frozen=True)
class TaskEntry:
    """One `dataset=NAME`."""

    name: str
    task: Task
    question: str

    @property
    def words(self) -> str:
        """The task's docstring and published results."""
        published = fill(f"Published: {self.task.published}", 116, break_on_hyphens=False)
        return f"{inspect.getdoc(type(self.task))}\n\n{published}"

    @property
    def cells(self) -> tuple[str, ...]:
        """The task's row in the table."""
        length = self.task.length[1]
        shown = ("–" if ceiling is None else f"{ceiling:.3f}" for ceiling in self.task.ceilings(length))
        answers = "a token" if self.task.per_token else "a sequence"
        return self.name, self.question, answers, str(length), *shown


def entries(names: Sequence[str] = ()) -> Iterator[TaskEntry]:
    """The tasks of configs/dataset, or only those of `names`."""
    for name, file, question in chosen("dataset", names):
        yield TaskEntry(name, make(configured("dataset", file), "dataset"), question)


def page(found: Sequence[TaskEntry]) -> str:
    """The page docs/tasks.md."""
    lines = heading(
        "tasks",
        "A ceiling is the highest possible accuracy at the default length. *Order-blind* is the ceiling of models that "
        "see only the bag of tokens, *order-aware* that of any model. If both are equal, no encoding can help, and "
        "skill is undefined.",
    )
    lines += markdown_table(COLUMNS, {entry.name: entry.cells for entry in found})
    for entry in found:
        lines += ["", f"## {entry.name}", "", "```text", entry.words, "```", ""]
        lines += [f"`python train.py dataset={entry.name}`"]
    return "\n".join(lines) + "\n"


def show(names: Sequence[str], markdown: bool = False) -> None:
    """Print the table, the page, or the text of each task in `names`."""
    found = list(entries(names))
    if markdown:
        print(page(found), end="")
    elif names:
        for entry in found:
            terminal.say(f"{entry.name}: {entry.question}\n\n{entry.words}\n")
    else:
        title = f"{len(found)} tasks · ceilings of accuracy at the default length"
        print_table(title, COLUMNS, (entry.cells for entry in found), right=COLUMNS[3:], spare=SPARE)
        terminal.say("The whole text of one task: python -m posenc tasks NAME")
