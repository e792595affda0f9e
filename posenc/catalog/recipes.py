"""`python -m posenc recipes` says layer by layer how each released model encodes position."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from posenc import checks, terminal
from posenc.catalog.page import configured, heading, markdown_table, node_of, options, print_table
from posenc.config.mixtures import name_of
from posenc.terminal import TRAIN

COLUMNS = ("recipe", "layers × encoding", "window", "base", "logit scale", "block", "source")
SPARE = ("source", "block", "base", "logit scale", "window")
"""The columns that a narrow terminal leaves out, in this order. `recipes NAME` prints them."""
BLOCK = ("norm", "rms_norm", "mlp_gate", "num_kv_heads", "qk_norm", "sinks", "soft_cap")
"""The options of the model in the column `block`, except those that are null or false."""


@dataclass(frozen=True)
class RecipeEntry:
    """One `recipe=NAME`: the comment in its file, and its config."""

    name: str
    comment: tuple[str, ...]
    config: DictConfig
    words: tuple[str, ...]
    """The encoding of each layer of the pattern, as written in `encoding=`."""

    @property
    def title(self) -> str:
        """The first line of the comment."""
        return self.comment[0]

    @property
    def prose(self) -> str:
        """The rest of the comment: where the recipe comes from, and what it leaves out."""
        return " ".join(self.comment[1:])

    @property
    def source(self) -> str:
        """The first link of the comment."""
        found = re.search(r"https://[^\s,;]*[^\s,;.]", self.prose)
        return found[0] if found else "–"

    @property
    def cells(self) -> tuple[str, ...]:
        """The recipe's row in the table."""
        model = self.config.model
        encodings = _counted([word.partition("@")[0] for word in self.words])
        bases = [self._node(word).get("base") for word in self.words]
        shown = [f"{base:,.0f}" if base else "–" for base in bases]
        block = ", ".join(f"{key} {_said(model[key])}" for key in BLOCK if model[key] not in (None, False))
        window, scale = _said(model.window, "all"), _said(model.logit_scale, "1")
        return self.name, encodings, window, _counted(shown), scale, block, self.source

    def _node(self, word: str) -> Any:
        parts = self.config.encoding.get("parts", {})
        return parts.get(name_of(word), self.config.encoding)


def entries(names: Sequence[str] = ()) -> Iterator[RecipeEntry]:
    """The recipes of configs/recipe, or only those of `names`."""
    files = options("recipe")
    for name in names:
        checks.one_of("catalogue", sorted(files), recipe=name)
    for name in names or sorted(files):
        config = configured("recipe", files[name])
        words = tuple(_encoding(files[name]).split("-"))
        yield RecipeEntry(name, tuple(_comment(files[name])), config, words)


def _comment(file: Path) -> list[str]:
    lines = file.read_text().splitlines()[1:]
    return [line.removeprefix("# ") for line in lines[: lines.index("defaults:")]]


def _encoding(file: Path) -> str:
    defaults: Any = OmegaConf.to_container(node_of(file))
    return next(str(one["override /encoding"]) for one in defaults["defaults"] if "override /encoding" in one)


def _said(value: Any, nothing: str = "–") -> str:
    """A value of the model as text. A list has one value for each layer."""
    value = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    values = value if isinstance(value, list) else [value]
    return _counted([nothing if each is None else str(each).lower() if each is True else str(each) for each in values])


def _counted(values: Sequence[str]) -> str:
    """Counts equal neighbours, as in `5 × near, far`. A value that all layers share is not counted."""
    groups = [(value, len([*same])) for value, same in groupby(values)]
    if len(groups) == 1:
        return groups[0][0]
    return ", ".join(value if count == 1 else f"{count} × {value}" for value, count in groups)


def page(found: Sequence[RecipeEntry]) -> str:
    """The page docs/recipes.md."""
    lines = heading(
        "recipes",
        "A recipe encodes position as a released model does, in a model of the experiment's size: each layer has the "
        "released encoding, window, base and logit scale, and the published block. `5 × a, b` is a pattern of six "
        "layers, which repeats; a single value holds for all layers. A window counts keys to the left of the query. "
        "The block is that of `model=llama`, except for the options in the column *block*. All recipes have 12 layers, "
        "a multiple of every pattern.",
    )
    cells = {entry.name: entry.cells for entry in found}
    lines += markdown_table(COLUMNS, {name: (*row[:-1], f"[source]({row[-1]})") for name, row in cells.items()})
    for entry in found:
        lines += ["", f"## {entry.name}", "", f"{entry.title[0].upper()}{entry.title[1:]}.", "", entry.prose, ""]
        lines += [f"`python train.py recipe={entry.name}`"]
    return "\n".join(lines) + "\n"


def show(names: Sequence[str], markdown: bool = False) -> None:
    """Print the table, the page, or all facts of each recipe in `names`."""
    found = list(entries(names))
    if markdown:
        print(page(found), end="")
        return
    if names:
        for entry in found:
            facts = dict(zip(COLUMNS[1:], entry.cells[1:], strict=True))
            said = [f"{entry.name}: {entry.title}. {entry.prose}", *(f"{key:<18}{text}" for key, text in facts.items())]
            terminal.say("\n".join([*said, f"{'use':<18}{TRAIN} recipe={entry.name}", ""]))
        return
    title = f"{len(found)} recipes · a pattern of layers repeats"
    print_table(title, COLUMNS, (entry.cells for entry in found), right=(), spare=SPARE)
    terminal.say("All facts of one recipe: python -m posenc recipes NAME")
