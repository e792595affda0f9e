"""What the pages of encodings and of tasks share: the files of a config group, what each of them builds, tables."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape

from posenc import checks, terminal
from posenc.checks import ConfigError
from posenc.config import CONFIGS
from posenc.config.mixtures import is_mixture
from posenc.config.mixtures import node as mixture

PAGE_LETTERS = 150
"""Characters in a line of a table where the output is not a terminal."""


def options(group: str, own: Path | None = None) -> dict[str, Path]:
    """The files of a group by the name of their option, those of the user's config folder `own` too."""
    if own is not None and not (own / group).is_dir():
        raise ConfigError(f"--config-dir {own} has no folder `{group}`.")
    folders = [CONFIGS, *([own.resolve()] if own else [])]
    return {file.stem: file for folder in folders for file in sorted((folder / group).glob("*.yaml"))}


def chosen(group: str, names: Sequence[str] = (), own: Path | None = None) -> Iterator[tuple[str, Path, str]]:
    """The options of a group, only `names` if there are any: name, file, and what the file's first line says of it."""
    files = options(group, own)
    files |= {name: CONFIGS / group / f"{name}.yaml" for name in names if group == "encoding" and is_mixture(name)}
    for name in names:
        checks.one_of("catalogue", sorted(files), **{group: name})
    for name in names or sorted(files):
        first = files[name].read_text().partition("\n")[0] if files[name].exists() else ""
        yield name, files[name], first.removeprefix("# ") if first.startswith("# ") else "–"


def node_of(file: Path) -> DictConfig:
    """What an option's file holds, not resolved. Raises ConfigError where that is no group of options."""
    node = OmegaConf.load(file) if file.exists() else OmegaConf.create(mixture(file.stem))
    if not isinstance(node, DictConfig):
        raise ConfigError(f"{file} holds a list; a config file holds options, such as _target_: mine.MyEncoding.")
    return node


def configured(group: str, file: Path, *overrides: str) -> DictConfig:
    """The config that `python train.py GROUP=NAME OVERRIDES` has, for an option's file.

    Composing takes Hydra a fifth of a second, so an option without defaults of its own is put into a config that is
    composed once.
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


def console() -> Console:
    """A terminal, or lines of a width in which a table fits."""
    made = Console()
    made.width = made.width if made.is_terminal else PAGE_LETTERS
    return made


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str], whole: Sequence[str]
) -> None:
    """A table in the terminal; columns in `right` stand there, those in `whole` are not wrapped."""
    table = terminal.table(title)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", no_wrap=column in whole)
    for row in rows:
        table.add_row(*map(escape, row))
    console().print(table)


def heading(what: str, text: str) -> list[str]:
    """The first lines of the page of all encodings or of all tasks."""
    made = f"Made by `python -m posenc {what} --markdown > docs/{what}.md`; a test holds that it is up to date."
    return [f"# The {what}", "", "[Documentation](README.md)", "", f"{made} {text}", ""]


def markdown_table(columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> list[str]:
    """The lines of a table whose first column, the keys of `rows`, links to the headings of that name."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for name, (first, *cells) in rows.items():
        lines.append(f"| [{first}](#{name}) | " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines
