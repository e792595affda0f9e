"""Code that the pages of encodings, tasks and recipes share: files of a config group, their configs, and tables."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape

from posenc import checks, terminal
from posenc.checks import ConfigError
from posenc.config import CONFIGS
from posenc.config.launching import check_option
from posenc.config.mixtures import is_mixture
from posenc.config.mixtures import node as mixture

PAGE_LETTERS = 180
"""Characters in a line of a table if the output is not a terminal."""
GAP = 2
"""Spaces between two columns."""


def options(group: str, own: Path | None = None) -> dict[str, Path]:
    """{option: file} of a config group, with the files of the user's config folder `own`.

    Raises ConfigError if `own` has no such group, or another file for an option of posenc.
    """
    if own is not None and not (own / group).is_dir():
        raise ConfigError(f"--config-dir {own} has no folder `{group}`.")
    folders = [CONFIGS, *([own.resolve()] if own else [])]
    found: dict[str, Path] = {}
    for file in (file for folder in folders for file in sorted((folder / group).glob("*.yaml"))):
        if file.stem in found:
            check_option(group, file.stem, folders)
        found.setdefault(file.stem, file)
    return found


def chosen(group: str, names: Sequence[str] = (), own: Path | None = None) -> Iterator[tuple[str, Path, str]]:
    """(name, file, text of the file's first line) of each option of a group, or only of `names`."""
    files = options(group, own)
    files |= {name: CONFIGS / group / f"{name}.yaml" for name in names if group == "encoding" and is_mixture(name)}
    for name in names:
        checks.one_of("catalogue", sorted(files), **{group: name})
    for name in names or sorted(files):
        first = files[name].read_text().partition("\n")[0] if files[name].exists() else ""
        yield name, files[name], first.removeprefix("# ") if first.startswith("# ") else "–"


def node_of(file: Path) -> DictConfig:
    """The content of an option's file, not resolved. Raises ConfigError if it is a list."""
    node = OmegaConf.load(file) if file.exists() else OmegaConf.create(mixture(file.stem))
    if not isinstance(node, DictConfig):
        raise ConfigError(f"{file} contains a list; a config file contains options, such as _target_: mine.MyEncoding.")
    return node


def configured(group: str, file: Path, *overrides: str) -> DictConfig:
    """The config of `python train.py GROUP=NAME OVERRIDES`, where `file` is the file of the option NAME.

    Hydra needs 0.2 s to compose a config. So a file without a defaults list is put into a config that is composed once.
    """
    node = node_of(file)
    if "defaults" in node or any(word.startswith(f"{group}.") for word in overrides):
        return _composed(f"{group}={file.stem}", *overrides, f"hydra.searchpath=[file://{file.parents[1]}]")
    config = deepcopy(_composed(*overrides))
    OmegaConf.set_struct(config, False)
    config[group] = node
    return config


@cache
def _composed(*overrides: str) -> DictConfig:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", overrides=list(overrides))


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    right: Sequence[str],
    spare: Sequence[str],
) -> None:
    """Print a table without cutting or breaking a word.

    right  columns aligned right
    spare  columns to leave out in a narrow terminal, one after the other, until the longest words of the rest fit; a
           line under the table names the columns left out
    """
    shown, screen = Console(), list(rows)
    narrow = shown.is_terminal or "COLUMNS" in os.environ
    shown.width = shown.width if narrow else PAGE_LETTERS
    words = {
        name: _letters([word for cell in (name, *cells) for word in cell.split()])
        for name, *cells in zip(columns, *screen, strict=True)
    }
    left_out: list[str] = []
    while narrow and sum(words.values()) + GAP * len(words) > shown.width and len(left_out) < len(spare):
        left_out.append(spare[len(left_out)])
        del words[left_out[-1]]
    room = max(0, shown.width - GAP * len(words) - sum(words.values()))
    cells = {name: _letters([row[columns.index(name)] for row in screen]) for name in words}
    wanted = {name: max(0, cells[name] - width) for name, width in words.items()}
    table = terminal.table(title)
    for name, width in words.items():
        share = min(wanted[name], room * wanted[name] // max(1, sum(wanted.values())))
        table.add_column(name, justify="right" if name in right else "left", width=width + share)
    for row in screen:
        table.add_row(*(escape(cell) for name, cell in zip(columns, row, strict=True) if name in words))
    asked, shown.width = shown.width, max(shown.width, sum(words.values()) + GAP * len(words))
    shown.print(table)
    if left_out:
        names = ", ".join(sorted(left_out, key=columns.index))
        terminal.say(f"A line of {asked} characters has no room for: {names}.")


def _letters(texts: Iterable[str]) -> int:
    return max(map(cell_len, texts), default=1)


def heading(what: str, text: str) -> list[str]:
    """The first lines of a page."""
    made = f"Made by `python -m posenc {what} --markdown > docs/{what}.md`; a test checks that it is up to date."
    return [f"# The {what}", "", "[Documentation](README.md)", "", f"{made} {text}", ""]


def markdown_table(columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> list[str]:
    """The lines of a table. Each cell of the first column links to the heading named by the row's key."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for name, (first, *cells) in rows.items():
        lines.append(f"| [{first}](#{name}) | " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines
