"""`python -m posenc encodings` lists every encoding; `python -m posenc encodings rope` draws the card of one.

Facts come from attributes of the class, which tests check. The number of parameters is counted in the built encoding.
Texts come from the class's docstring and from the first line of the yaml file.
"""

import inspect
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from torch import nn

from posenc import terminal
from posenc.catalog.page import chosen, configured, heading, markdown_table, node_of, print_table
from posenc.checks import ConfigError
from posenc.config import CONFIGS
from posenc.config.allowed import locate
from posenc.config.make import make
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.variants import VARIANTS
from posenc.figures.portrait import portray
from posenc.runs.writing import write_picture
from posenc.terminal import TRAIN

PICTURES = Path("runs/catalog")
PICTURE_FORMATS = (".png", ".svg", ".pdf")
MODEL = "D = 64, H = 4, 2 layers"
"""The default model, whose parameters are counted."""


@dataclass(frozen=True)
class EncodingEntry:
    """One `encoding=NAME`."""

    name: str
    encoding: PositionalEncoding
    parameters: int
    published: str

    @property
    def depth(self) -> int:
        """The smallest even number of layers that the encoding's pattern of layers divides."""
        return math.lcm(2, self.encoding.layers_in_pattern)

    @property
    def causal(self) -> bool:
        """Whether the encoding needs a causal mask."""
        return self.encoding.causal_only

    @property
    def documentation(self) -> str:
        """The class's docstring."""
        return inspect.cleandoc(type(self.encoding).__doc__ or "–")  # inspect.getdoc would take a parent's docstring

    @property
    def formula(self) -> str:
        """The first paragraph of the docstring."""
        return self.documentation.split("\n\n")[0].replace("\n", " ").rstrip(".")

    @property
    def prose(self) -> str:
        """The other paragraphs of the docstring, one in each line."""
        return "\n".join(part.replace("\n", " ") for part in self.documentation.split("\n\n")[1:])

    @property
    def source(self) -> str:
        """The link to the publication."""
        return self._fact("source", "–")

    @property
    def proof(self) -> tuple[str, ...]:
        """The implementations with which tests compare the encoding."""
        return self._fact("proof", ())

    def _fact(self, name: str, default: Any) -> Any:
        """An attribute of the class, without inherited ones; `VARIANTS` overrides it for this option."""
        return VARIANTS.get(self.name, {}).get(name, vars(type(self.encoding)).get(name, default))

    @property
    def size(self) -> str:
        """The number of parameters, as a formula."""
        return self.encoding.size

    @property
    def reach(self) -> str:
        """The lengths at which the encoding is defined."""
        return "to max_length" if hasattr(self.encoding, "max_length") else "defined"

    @property
    def enters(self) -> str:
        """Where position enters the model, according to the hooks that the class overrides."""
        at = {"bias": "logits", "rotate": "queries and keys"}
        at["embed"] = "embeddings" if self.encoding.inject == "input" else "attention's input"
        shown = self.encoding.hooks if len(self.encoding.leaves) > 1 else self.encoding.hooks[-1:]
        return ", ".join(at[hook] for hook in shown) or "nowhere"

    @property
    def layers(self) -> str:
        """Whether all layers share the learned parameters."""
        if not self.parameters:
            return "nothing learned"
        if not self.encoding.per_layer:
            return "at the input" if self.enters == "embeddings" else "shared"
        return "own" + "".join(f", {name} shared" for name in sorted(self.encoding.shared))

    @property
    def decodes(self) -> str:
        """Whether a model can decode token by token with a cache, or why not."""
        return f"no: {self.encoding.one_pass}" if self.encoding.one_pass else "yes"

    @property
    def depends(self) -> str:
        """The inputs of which the encoding is a function."""
        return ", ".join(sorted(self.encoding.depends_on)) or "nothing"


def entries(names: Sequence[str] = (), folder: Path | None = None) -> Iterator[EncodingEntry]:
    """The encodings of configs/encoding and of the config folder `folder`, or only those of `names`."""
    for name, file, published in chosen("encoding", names, folder):
        encoding = build(file)
        layers = nn.ModuleList(encoding.for_layers(math.lcm(2, encoding.layers_in_pattern)))
        yield EncodingEntry(name, encoding, sum(p.numel() for p in layers.parameters()), published)


def build(file: Path, *overrides: str) -> PositionalEncoding:
    """The encoding of a config file in the default model, with a causal mask if the encoding needs one."""
    config = configured("encoding", file, f"model.causal={str(needs_causal(file)).lower()}", *overrides)
    encoding = make(config, "encoding")
    encoding.trained_at(config.dataset.length)  # in `pattern`, length is the number of tokens
    return encoding


def needs_causal(file: Path) -> bool:
    """Whether the encoding of a config file, or a part of it, needs a causal mask."""
    node = node_of(file)
    target = node.get("_target_")
    if isinstance(target, str) and getattr(locate("encoding", target), "causal_only", False):
        return True
    parts = [part.partition("@")[0] for part in node.get("defaults", ()) if isinstance(part, str) and "@" in part]
    folders = (file.parent, CONFIGS / "encoding")
    files = [folder / f"{part}.yaml" for part in parts for folder in folders]
    return any(needs_causal(each) for each in files if each.is_file())


COLUMNS = (
    "encoding",
    "enters at",
    "depends on",
    "parameters",
    "in each layer",
    "past training",
    "with a cache",
    "published",
    "proof",
    "source",
)

SPARE = ("source", "proof", "published", "with a cache", "past training", "in each layer", "enters at")
"""The columns that a narrow terminal leaves out, in this order. The card of an encoding has them."""


def row(entry: EncodingEntry) -> tuple[str, ...]:
    """An entry's cells."""
    name = entry.name + (" (causal)" if entry.causal else "")
    source = entry.source.removeprefix("https://").removeprefix("arxiv.org/abs/")
    count, proof = f"{entry.parameters:,}", ", ".join(entry.proof) or "–"
    facts = name, entry.enters, entry.depends, count, entry.layers, entry.reach, entry.decodes
    return *facts, entry.published, proof, source


def page(found: Sequence[EncodingEntry]) -> str:
    """The page docs/encodings.md."""
    lines = heading(
        "encodings",
        f"Parameters are those of the default model ({MODEL}); their formulas have L layers, and d = D/H. *In each "
        "layer* says whether all layers share them or each has its own; `model.encoding_per_layer` changes this. "
        "*With a cache* says whether a causal model that decodes token by token gives the same as one pass. If an "
        "encoding does not depend on the extent, padding and packed neighbours change nothing. If it also does not "
        "depend on the position, an offset changes nothing. Tests check all of this. "
        "*Proof* names the implementations with which a test compares the encoding to 1e-5; `formula` is the paper's "
        "formula, written independently in numpy.",
    )
    lines += ["![every encoding's logit between equal tokens against their distance](encodings.png)", ""]
    rows = {entry.name: row(entry) for entry in found}
    linked = {entry.name: f"[{rows[entry.name][-1]}]({entry.source})" for entry in found}
    lines += markdown_table(COLUMNS, {name: (*cells[:-1], linked[name]) for name, cells in rows.items()})
    for entry in found:
        lines += ["", f"## {entry.name}", "", f"`{entry.formula}`", "", entry.prose.replace("\n", "\n\n"), ""]
        lines += [f"Parameters: `{entry.size}`.", ""] if entry.size else []
        lines += [f"`python train.py encoding={entry.name}{' model.causal=true' if entry.causal else ''}`"]
    return "\n".join(lines) + "\n"


def print_card(entry: EncodingEntry, folder: Path) -> None:
    """Print an encoding's facts and draw its picture. A mixture over layers has no picture."""
    from posenc.figures import cards

    console = Console()
    console.print(f"\n[bold]{escape(entry.name)}[/bold] · {type(entry.encoding).__name__}\n")
    console.print(f"  {escape(entry.formula)}\n", highlight=False)
    console.print(escape(entry.prose) + "\n", highlight=False)
    model = MODEL.replace("2 layers", f"{entry.depth} layers")
    use = f"{TRAIN} encoding={entry.name}{' model.causal=true' if entry.causal else ''}"
    facts = {
        **({"is made of": entry.encoding.made_of} if entry.encoding.made_of else {}),
        "enters at": entry.enters,
        "depends on": entry.depends,
        "parameters": f"{entry.size}{' = ' if entry.size else ''}{entry.parameters:,} ({model})",
        "in each layer": entry.layers,
        "longer inputs": entry.reach,
        "with a cache": entry.decodes,
        "proof": ", ".join(entry.proof) or "–",
        "published": entry.published,
        "source": entry.source,
        "use": use if entry.depth == 2 else f"{use} model.num_layers={entry.depth}",
    }
    if entry.encoding.layers_in_pattern == 1:
        folder.mkdir(parents=True, exist_ok=True)
        picture = folder / f"{entry.name}.png"
        write_picture(picture, cards.encoding_card(entry.name, portray(entry.encoding, entry.causal)), dpi=120)
        facts["picture"] = str(picture)
    for label, text in facts.items():
        terminal.say(f"{label:<14}{text}")


def show(
    names: Sequence[str],
    markdown: bool = False,
    gallery: Path | None = None,
    config_dir: Path | None = None,
    pictures: Path = Path("runs", "catalog"),
) -> None:
    """Print the table, the page or the cards of `names`, or draw all encodings in one picture."""
    torch.manual_seed(0)
    found = list(entries(names, config_dir))
    if gallery:
        from posenc.figures import cards

        if gallery.suffix not in PICTURE_FORMATS:
            raise ConfigError(f"--gallery {gallery}: write a file ending in {', '.join(PICTURE_FORMATS)}.")
        portraits = {entry.name: portray(entry.encoding, entry.causal) for entry in found}
        write_picture(gallery, cards.encoding_gallery(portraits), dpi=130)
    if markdown:
        print(page(found), end="")
    elif names:
        for entry in found:
            print_card(entry, pictures)
    elif not gallery:
        title = f"{len(found)} encodings · parameters for {MODEL}"
        print_table(title, COLUMNS, map(row, found), right=("parameters",), spare=SPARE)
        terminal.say("All facts of one encoding: python -m posenc encodings NAME")
