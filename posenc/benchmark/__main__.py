"""`python -m posenc.benchmark`: the command line."""

import argparse
import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from posenc import checks, tables
from posenc.benchmark.attention import attention
from posenc.benchmark.figure import draw
from posenc.benchmark.loop import loop
from posenc.benchmark.sections import Section, Shape, data, encodings, growth, peers
from posenc.catalog.encodings import CONFIGS
from posenc.jobs.launch import mistakes
from posenc.runs import result as runs
from posenc.terminal import printing
from posenc.training.memory import keep_freed
from posenc.training.precision import bfloat16_units

DESCRIPTION = "What a training step costs: other libraries, every encoding, attention, length, Lightning, data."
SECTIONS = ("peers", "encodings", "attention", "growth", "loop", "data")
COLUMNS = {
    "batch": "d", "length": "d", "contestant": "", "min_ms": ".1f", "median_ms": ".1f", "quartile_low_ms": ".1f",
    "quartile_high_ms": ".1f", "ratio": ".3f", "share_of_limit": ".2f", "evaluation_ms": ".1f", "predicted": ".2f",
    "ratio_to_predicted": ".2f", "saved_mib": ".1f", "saved_ratio": ".2f", "parameters": ",d",
}  # fmt: skip


@dataclass(frozen=True)
class Profile:
    """Shapes, and rounds at each; of data the tasks, and rounds. No tasks: all."""

    peers: tuple[list[Shape], int]
    encodings: tuple[list[Shape], int]
    attention: tuple[list[Shape], int]
    growth: tuple[list[Shape], int]
    loop: int
    data: tuple[tuple[str, ...], int]


PROFILES = {
    "smoke": Profile(
        ([(2, 8)], 2), ([(2, 8)], 2), ([(2, 8)], 2), ([(2, 16), (1, 32)], 2), 4, (("pattern", "parity"), 2)
    ),
    "quick": Profile(
        ([(32, 32), (16, 128)], 8), ([(32, 32), (2, 512)], 4), ([(2, 512)], 5), ([(8, 512), (1, 4096)], 3), 60, ((), 5)
    ),
    "full": Profile(
        ([(32, 32), (256, 32), (64, 128), (16, 512)], 20),
        ([(256, 32), (64, 128), (16, 512), (4, 2048)], 8),
        ([(64, 128), (16, 512), (4, 2048)], 10),
        ([(32, 512), (16, 1024), (8, 2048), (4, 4096)], 6),
        500,
        ((), 20),
    ),
}


@printing()
def main(words: Sequence[str] | None = None) -> None:
    """Measure, print, write benchmark.json and benchmark.png."""
    parser = argparse.ArgumentParser("python -m posenc.benchmark", description=DESCRIPTION)
    parser.add_argument("words", nargs="*", metavar="WORD", help="profile=smoke|quick|full; encodings to time (all)")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, help="sections to measure (all)")
    parser.add_argument("--folder", type=Path, help="where to write (runs/benchmark/<date and time>)")
    asked = parser.parse_args(words)
    options = dict(word.partition("=")[::2] for word in asked.words if "=" in word)
    names = [word for word in asked.words if "=" not in word]
    with mistakes(CONFIGS):
        for key in options:
            checks.one_of("benchmark", ["profile"], option=key)
        profile = options.get("profile", "quick")
        checks.one_of("benchmark", PROFILES, profile=profile)
        known = sorted(path.stem for path in (CONFIGS / "encoding").glob("*.yaml"))
        for name in names:
            checks.one_of("benchmark", known, encoding=name)
        folder = asked.folder or Path("runs/benchmark") / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        if (folder / "benchmark.json").exists():
            raise checks.ConfigError(f"{folder} holds a benchmark already; give another --folder.")
        folder.mkdir(parents=True, exist_ok=True)
        measure(PROFILES[profile], names, asked.only, folder)


def measure(profile: Profile, names: Sequence[str], only: Sequence[str], folder: Path) -> None:
    """Section by section; what is measured is written before the next begins."""
    every: dict[str, Callable[[], Section]] = {
        "peers": lambda: peers(*profile.peers),
        "encodings": lambda: encodings(names, *profile.encodings),
        "attention": lambda: attention(*profile.attention),
        "growth": lambda: growth(*profile.growth),
        "loop": lambda: loop(profile.loop),
        "data": lambda: data(*profile.data),
    }
    keep_freed()  # as training does
    console, found = Console(), dict[str, Section]()
    console.width = console.width if console.is_terminal else 160
    console.print("  ".join(f"{key} {value}" for key, value in machine().items()))
    for name in (name for name in SECTIONS if name in only):
        found[name] = section = every[name]()
        show(console, section)
        record = {"machine": machine(), "sections": {key: asdict(value) for key, value in found.items()}}
        runs.write_text(folder / "benchmark.json", json.dumps(record, indent=1) + "\n")
        runs.write_picture(folder / "benchmark.png", draw(found), dpi=150)
    console.print(f"{folder}/benchmark.json, benchmark.png")


def show(console: Console, section: Section) -> None:
    """One section as a table, with the columns that it has."""
    columns = [column for column in COLUMNS if any(column in row for row in section.rows)]
    heads = [column.replace("_", " ") for column in columns]
    table = tables.table(section.title, *heads, left=["contestant"], caption=" ".join(section.notes) or None)
    for row in section.rows:
        table.add_row(*(format(row[column], COLUMNS[column]) if column in row else "" for column in columns))
    console.print(table)


def machine() -> dict[str, Any]:
    """What times depend on."""
    return {
        "torch": torch.__version__.partition("+")[0],
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "bfloat16_units": bfloat16_units(),
        "machine": platform.machine(),
    }


if __name__ == "__main__":
    main()
