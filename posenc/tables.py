"""How a table looks in the terminal: the same everywhere."""

from collections.abc import Collection

from rich.box import SIMPLE_HEAD
from rich.table import Table


def table(title: str, *heads: str, left: Collection[str] = (), caption: str | None = None) -> Table:
    """A table without columns yet, or with these: the first and those in `left` are text, the others numbers."""
    made = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    made.caption = caption
    for number, head in enumerate(heads):
        made.add_column(head, justify="left" if number == 0 or head in left else "right", no_wrap=True)
    return made
