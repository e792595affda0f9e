"""The catalogue: `python -m posenc.catalog.encodings` lists every encoding, `python -m posenc.catalog.encodings rope` draws its card.

What it says is read from the code: formula, parameters and reach from the class's docstring (tests hold them true),
where position enters from the hooks that the class overrides, what it is proven against from the head of its yaml file.
"""

import argparse
import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from rich.console import Console
from rich.markup import escape

from posenc import checks, tables
from posenc.checks import ConfigError
from posenc.config.build import make
from posenc.encodings.base import PositionalEncoding
from posenc.figures.portrait import Portrait, portray
from posenc.jobs.launch import mistakes
from posenc.runs import result as runs
from posenc.terminal import printing

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
PICTURES = Path("runs/catalog")
PICTURE_FORMATS = (".png", ".svg", ".pdf")
MODEL = "D = 64, H = 4, 2 layers"
"""The default model, for which parameters are counted."""


@dataclass(frozen=True)
class Entry:
    """One `encoding=NAME`."""

    name: str
    encoding: PositionalEncoding
    causal: bool
    parameters: int
    head: str

    @property
    def documentation(self) -> str:
        """The class's docstring."""
        return inspect.cleandoc(type(self.encoding).__doc__ or "–")  # of the class itself, not of one that it extends

    @property
    def formula(self) -> str:
        """Its first line."""
        return self.documentation.split("\n\n")[0].replace("\n", " ").rstrip(".")

    @property
    def prose(self) -> str:
        """The rest of it, a paragraph a line."""
        return "\n".join(part.replace("\n", " ") for part in self.documentation.split("\n\n")[1:])

    @property
    def source(self) -> str:
        """The link in the yaml's head, else the first in the docstring."""
        links = re.findall(r"https://[^\s,;)]+", self.head + self.documentation)
        return links[0] if links else "–"

    @property
    def size(self) -> str:
        """The number of parameters, as a formula."""
        found = re.search(r"(?:^|\. |\n)([^.]*?(?:\.\d[^.]*?)*) parameters", self.prose)
        return found.group(1).strip() if found else "–"

    @property
    def reach(self) -> str:
        """What holds beyond the training length."""
        found = re.search(r"((?:Defined|Undefined) [^.]*)\.", self.prose)
        return found.group(1) if found else "–"

    @property
    def published(self) -> str:
        """Who published it, as the first line of the yaml's head says."""
        comment = self.head.partition("\n")[0]
        return comment.partition("; ")[2] or comment

    @property
    def proof(self) -> str:
        """What a test compares it with, as the yaml's head says."""
        found = re.search(r"^proof: (.*)$", self.head, re.MULTILINE)
        return found.group(1) if found else "–"

    @property
    def enters(self) -> str:
        """Where position enters, by the hooks that the class overrides."""
        encoding = self.encoding
        if overrides(encoding, "bias"):
            return "logits"
        if overrides(encoding, "rotate"):
            return "queries and keys"
        if overrides(encoding, "embed"):
            return "embeddings" if encoding.inject == "input" else "attention's input"
        return "nowhere"

    @property
    def layers(self) -> str:
        """Whether all layers share what is learned."""
        if not any(True for _ in self.encoding.parameters()):
            return "nothing learned"
        if not self.encoding.per_layer:
            return "at the input" if self.enters == "embeddings" else "shared"
        return "own" + "".join(f", {name} shared" for name in sorted(self.encoding.shared))

    @property
    def depends(self) -> str:
        """What it is a function of."""
        return ", ".join(sorted(self.encoding.depends_on)) or "nothing"


def overrides(encoding: PositionalEncoding, hook: str) -> bool:
    """Whether a class has a hook of its own."""
    return getattr(type(encoding), hook) is not getattr(PositionalEncoding, hook)


def entries(names: Sequence[str] = (), folder: Path | None = None) -> Iterator[Entry]:
    """The encodings of configs/encoding and of the config folder `folder`, by name; only `names` if there are any."""
    if folder is not None and not (folder / "encoding").is_dir():
        raise ConfigError(f"--config-dir {folder} has no folder `encoding`.")
    folders = [CONFIGS, *([folder.resolve()] if folder else [])]
    files = {file.stem: file for root in folders for file in sorted((root / "encoding").glob("*.yaml"))}
    for name in names:
        checks.one_of("catalogue", sorted(files), encoding=name)
    search = [f"hydra.searchpath=[{', '.join(f'file://{root}' for root in folders[1:])}]"]
    for name in names or sorted(files):
        encoding, causal = build(name, search)
        lines = files[name].read_text().splitlines()
        head = "\n".join(line.removeprefix("# ") for line in lines if line.startswith("# ")) + "\n"
        layers = encoding.for_layers(2 if encoding.per_layer else 1)
        parameters = {id(p): p.numel() for layer in layers for p in layer.parameters()}
        yield Entry(name, encoding, causal, sum(parameters.values()), head)


def build(name: str, overrides: Sequence[str] = ()) -> tuple[PositionalEncoding, bool]:
    """The encoding as the default model builds it, and whether it is defined under a causal mask only."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        for causal in (False, True):
            mask = f"model.causal={str(causal).lower()}"
            try:
                config = compose("train", overrides=[f"encoding={name}", mask, *overrides])
                encoding = make(config, "encoding")
            except ConfigError as error:
                if causal or "model.causal=true" not in str(error):
                    raise
                continue
            encoding.trained_at(config.dataset.length)  # of `pattern`, whose items are its tokens
            return encoding, causal
    raise AssertionError


COLUMNS = (
    "encoding",
    "enters at",
    "depends on",
    "parameters",
    "in each layer",
    "past training",
    "published",
    "proof",
    "source",
)
WIDTH = 150
"""Characters in a line of the table where the output is not a terminal."""


def row(entry: Entry) -> tuple[str, ...]:
    """An entry's cells."""
    name = entry.name + (" (causal)" if entry.causal else "")
    past = "defined" if entry.reach.startswith("Defined") else "to max_length"
    published = re.sub(r": needs model.causal=true$", "", entry.published)
    source = re.sub(r"^https://(arxiv.org/abs/)?", "", entry.source)
    count = f"{entry.parameters:,}"
    return name, entry.enters, entry.depends, count, entry.layers, past, published, entry.proof, source


def print_table(found: Sequence[Entry]) -> None:
    """The catalogue in the terminal."""
    console = Console()
    console.width = console.width if console.is_terminal else WIDTH
    title = f"{len(found)} encodings · parameters for {MODEL}"
    table = tables.table(title)
    for column in COLUMNS:
        whole = column in ("encoding", "parameters", "source")
        table.add_column(column, justify="right" if column == "parameters" else "left", no_wrap=whole)
    for entry in found:
        table.add_row(*map(escape, row(entry)))
    console.print(table)
    console.print("One card: python -m posenc.catalog.encodings NAME", highlight=False)


def markdown(found: Sequence[Entry]) -> str:
    """The page docs/encodings.md."""
    lines = [
        "# The encodings",
        "",
        "Made by `python -m posenc.catalog.encodings --markdown > docs/encodings.md`; a test holds that it is up to date. "
        f"Parameters are those of the default model ({MODEL}); *in each layer* says whether all layers share them or "
        "each has its own, which `model.encoding_per_layer` changes. *Proof* names the implementations that a test "
        "compares each encoding with to 1e-5, or `formula`: the paper's formula in numpy, written independently.",
        "",
        "![every encoding's logit between equal tokens against their distance](encodings.png)",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "---|" * len(COLUMNS),
    ]
    for entry in found:
        name, *cells, source = row(entry)
        cells += [f"[{source}]({entry.source})"]
        lines.append(f"| [{name}](#{entry.name}) | " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    for entry in found:
        lines += ["", f"## {entry.name}", "", f"`{entry.formula}`", "", entry.prose.replace("\n", "\n\n"), ""]
        lines += [f"`python train.py encoding={entry.name}{' model.causal=true' if entry.causal else ''}`"]
    return "\n".join(lines) + "\n"


def print_card(entry: Entry, portrait: Portrait, folder: Path) -> None:
    """One encoding in words and in a picture."""
    from posenc.figures import figures

    console = Console()
    console.print(f"\n[bold]{escape(entry.name)}[/bold] · {type(entry.encoding).__name__}\n")
    console.print(f"  {escape(entry.formula)}\n", highlight=False)
    console.print(escape(entry.prose) + "\n", highlight=False)
    facts = {
        "enters at": entry.enters,
        "depends on": entry.depends,
        "parameters": f"{entry.size} = {entry.parameters:,} ({MODEL})",
        "in each layer": entry.layers,
        "longer inputs": entry.reach,
        "proof": entry.proof,
        "source": entry.source,
        "use": f"python train.py encoding={entry.name}{' model.causal=true' if entry.causal else ''}",
    }
    folder.mkdir(parents=True, exist_ok=True)
    picture = folder / f"{entry.name}.png"
    runs.write_picture(picture, figures.encoding_card(entry.name, portrait), dpi=120)
    for label, text in {**facts, "picture": str(picture)}.items():
        console.print(f"{label:<14}{escape(text)}", highlight=False, soft_wrap=True)


@printing()
def main(words: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        "python -m posenc.catalog.encodings", description="Every positional encoding, in words and in pictures."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="encodings to draw a card of; none: the whole table")
    parser.add_argument("--markdown", action="store_true", help="print the documentation page instead")
    parser.add_argument("--gallery", type=Path, metavar="FILE", help="write one picture of all encodings")
    parser.add_argument("--config-dir", type=Path, metavar="DIR", help="a folder of configs of your own")
    parser.add_argument("--pictures", type=Path, metavar="DIR", default=PICTURES, help=f"for cards ({PICTURES})")
    asked = parser.parse_args(words)
    torch.manual_seed(0)
    with mistakes(CONFIGS):
        found = list(entries(asked.names, asked.config_dir))
        if asked.gallery:
            from posenc.figures import figures

            if asked.gallery.suffix not in PICTURE_FORMATS:
                raise ConfigError(f"--gallery {asked.gallery}: write a file ending in {', '.join(PICTURE_FORMATS)}.")
            pictures = {entry.name: portray(entry.encoding, entry.causal) for entry in found}
            runs.write_picture(asked.gallery, figures.encoding_gallery(pictures), dpi=80)
        if asked.markdown:
            print(markdown(found), end="")
        elif asked.names:
            for entry in found:
                print_card(entry, portray(entry.encoding, entry.causal), asked.pictures)
        elif not asked.gallery:
            print_table(found)


if __name__ == "__main__":
    main()
