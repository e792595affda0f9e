"""The terminal: how tables and counts look, and output that never decides whether work is done, unless printing is."""

import errno
import io
import os
import re
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

TRAIN = "python train.py" if (Path(__file__).parents[1] / "train.py").is_file() else "posenc train"
"""The command that trains: that of a checkout, or that of an installed package."""
READER_GONE = (errno.EPIPE, errno.EIO)
"""The reader has left (`| head`), or the terminal is closed: whoever did that knows it."""


class LastingFile(io.FileIO):
    """A file descriptor to write to. After the first write that fails, everything goes to os.devnull instead.

    lost  whether output was dropped though its reader is there
    """

    lost = False
    replaced: TextIO | None = None  # kept, since a stream that nobody holds closes the descriptor

    def write(self, data: Any, /) -> int:
        """Write, or drop what cannot be written."""
        try:
            return super().write(data)
        except BlockingIOError:
            raise
        except OSError as error:
            handle = os.open(os.devnull, os.O_WRONLY)
            os.dup2(handle, self.fileno())
            os.close(handle)
            self.lost = error.errno not in READER_GONE
            if self.lost and self.fileno() == 1:
                print(f"the output cannot be written ({error.strerror}); work continues without it", file=sys.stderr)
            return len(data)


def keep_going() -> None:
    """From here on no character and no reader of stdout or stderr raises an error in this process.

    Characters that the stream's encoding does not have are replaced. When the reader has gone (`| head -1`) or the
    disk is full, the rest of the output is dropped. Each line is written when it is complete. A stream that is not a
    plain file descriptor (a notebook's, a test's) stays as it is.
    """
    sys.stdout, sys.stderr = _lasting(sys.stdout, "replace"), _lasting(sys.stderr, "backslashreplace")


@contextmanager
def muted() -> Iterator[None]:
    """Inside nothing is printed: of several processes that do the same one prints."""
    with open(os.devnull, "w") as nothing, redirect_stdout(nothing), redirect_stderr(nothing):  # noqa: PTH123
        yield


@contextmanager
def printing() -> Iterator[None]:
    """As `keep_going`, around a command whose work is what it prints: it ends with status 1 where that was lost."""
    keep_going()
    try:
        yield
    except SystemExit as end:  # argparse's, after --help
        if end.code or not _lost(sys.stdout):
            raise
    if _lost(sys.stdout):
        sys.exit(1)


def _lost(stream: TextIO) -> bool:
    file = getattr(getattr(stream, "buffer", None), "raw", None)
    if not isinstance(file, LastingFile):
        return False
    stream.flush()
    return file.lost


def _lasting(stream: TextIO, errors: str) -> TextIO:
    if type(stream) is not io.TextIOWrapper or isinstance(getattr(stream.buffer, "raw", stream.buffer), LastingFile):
        return stream
    try:
        stream.flush()
        file = LastingFile(stream.fileno(), "w", closefd=False)
        file.replaced = stream
    except (OSError, ValueError):  # it is closed, or no descriptor is behind it
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(file), encoding=stream.encoding, errors=errors, line_buffering=True, newline=None
    )


def table(title: str, *heads: str, left: Collection[str] = (), caption: str | None = None) -> "Table":
    """A table without columns yet, or with these: the first and those in `left` are text, the others numbers."""
    from rich.box import SIMPLE_HEAD  # a tenth of a second, which --help need not pay
    from rich.table import Table

    made = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    made.caption = caption
    for number, head in enumerate(heads):
        if number == 0 or head in left:
            made.add_column(head, no_wrap=True)
        else:
            numbers(made, head)
    return made


def numbers(table: "Table", head: str) -> None:
    """Add a column of numbers; a head of several words, which is wider than they are, takes two lines."""
    table.add_column("\n".join(head.rsplit(" ", 1)), justify="right", no_wrap=True)


def show(table: "Table") -> None:
    """Print a table with every number and name of it: a terminal that is narrower than that breaks its lines."""
    from rich.console import Console
    from rich.measure import Measurement

    console = Console()
    wide = console.options.update(max_width=1000)
    for column in table.columns:
        if column.no_wrap:  # whose words rich counts one by one
            parts = (column.header, *column.cells)
            column.min_width = max(Measurement.get(console, wide, part).maximum for part in parts)
    console.width = max(console.width, Measurement.get(console, wide, table).minimum)
    if table.title:  # rich would break it at the width of the table, which may be far less than that of the terminal
        say(f"[italic]{table.title}[/]", markup=True)
        table.title = None
    console.print(table)


def count(n: int, noun: str) -> str:
    """1 run, 2 runs."""
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def say(text: str, markup: bool = False) -> None:
    """Print sentences: each in one line to a file, broken between words in a terminal, where a path stays whole."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    for line in text.split("\n"):
        said = Text.from_markup(line, emoji=False) if markup else Text(line)
        for part in _broken(said, console.width) if console.is_terminal else [said]:
            console.print(part, highlight=False, emoji=False, soft_wrap=True)


def _broken(text: "Text", width: int) -> "Iterator[Text]":
    """The text in lines of at most `width`, or of one longer word."""
    start = end = 0
    for word in re.finditer(r"\S+", text.plain):
        if word.end() - start > width and end > start:
            yield text[start:end]
            start = word.start()
        end = word.end()
    yield text[start:]
