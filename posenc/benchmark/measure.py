"""`python -m posenc benchmark`: its sections, its profiles, and the code that measures and writes them."""

import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from posenc import checks, terminal
from posenc.benchmark.answers import VERDICT, VERDICT_TASK, SweepSize, answers
from posenc.benchmark.attention import attention
from posenc.benchmark.compiled import compiled
from posenc.benchmark.figure import PANELS, draw
from posenc.benchmark.loop import loop
from posenc.benchmark.sections import Section, Shape, data, encodings, growth, peers
from posenc.catalog.page import options
from posenc.runs.writing import write_picture, write_text
from posenc.training.memory import keep_freed
from posenc.training.precision import bfloat16_units

SECTIONS = ("peers", "encodings", "attention", "growth", "loop", "data", "compile", "answers")
ASKED = ("compile", "answers")
"""Sections that take many minutes. They are measured only if --only names them."""
COLUMNS = {
    "batch": "d", "length": "d", "contestant": "", "min_ms": ".1f", "median_ms": ".1f", "quartile_low_ms": ".1f",
    "quartile_high_ms": ".1f", "ratio": ".3f", "share_of_limit": ".2f", "evaluation_ms": ".1f", "predicted": ".2f",
    "ratio_to_predicted": ".2f", "saved_mib": ".1f", "saved_ratio": ".2f", "parameters": ",d",
    "runs": "d", "processor_s": ".0f", "training_s": ".0f", "runs_per_hour": ".0f", "training_share": ".2f",
    "graphs": "d", "graph_breaks": "d", "compile_s": ".0f",
}  # fmt: skip


@dataclass(frozen=True)
class Profile:
    """For each section the shapes and the number of rounds.

    `loop` has only rounds. `data` has tasks instead of shapes; an empty tuple means all tasks.
    """

    peers: tuple[list[Shape], int]
    encodings: tuple[list[Shape], int]
    attention: tuple[list[Shape], int]
    growth: tuple[list[Shape], int]
    loop: int
    data: tuple[tuple[str, ...], int]
    compile: tuple[list[Shape], int]
    answers: SweepSize


PROFILES = {
    "smoke": Profile(
        ([(2, 8)], 2),
        ([(2, 8)], 2),
        ([(2, 8)], 2),
        ([(2, 16), (1, 32)], 2),
        4,
        (("pattern", "parity"), 2),
        ([(2, 8)], 2),
        SweepSize(VERDICT[:1], [VERDICT_TASK], steps=4, seeds=1, eval_size=64),
    ),
    "quick": Profile(
        ([(32, 32), (16, 128)], 8),
        ([(32, 32), (2, 512)], 4),
        ([(2, 512)], 5),
        ([(8, 512), (1, 4096)], 3),
        60,
        ((), 5),
        ([(32, 32)], 5),
        SweepSize(VERDICT, [VERDICT_TASK], seeds=3),
    ),
    "full": Profile(
        ([(32, 32), (256, 32), (64, 128), (16, 512)], 20),
        ([(256, 32), (64, 128), (16, 512), (4, 2048)], 8),
        ([(64, 128), (16, 512), (4, 2048)], 10),
        ([(32, 512), (16, 1024), (8, 2048), (4, 4096)], 6),
        500,
        ((), 20),
        ([(32, 32), (16, 512)], 8),
        SweepSize(),
    ),
}


def show(words: Sequence[str] = (), only: Sequence[str] | None = None, folder: Path | None = None) -> None:
    """Measure, print, and write benchmark.json and benchmark.png."""
    profile, names, sections = chosen(words, only or ())
    folder = folder or Path("runs/benchmark") / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    if (folder / "benchmark.json").exists():
        raise checks.ConfigError(f"{folder} contains a benchmark already; give another --folder.")
    folder.mkdir(parents=True, exist_ok=True)
    measure(profile, names, sections, folder)


def chosen(words: Sequence[str], only: Sequence[str]) -> tuple[Profile, list[str], list[str]]:
    """The profile, the encodings and the sections that were asked for. Raises ConfigError for an unknown word.

    The words may follow the sections: `--only answers profile=full`.
    """
    known = options("encoding")
    sections = [word for word in only if "=" not in word and word not in known]
    words = [*words, *(word for word in only if word not in sections)]
    settings = {key: value for key, sign, value in (word.partition("=") for word in words) if sign}
    names = [word for word in words if "=" not in word]
    for key in settings:
        checks.one_of("benchmark", ["profile"], option=key)
    profile = settings.get("profile", "quick")
    checks.one_of("benchmark", PROFILES, profile=profile)
    for name in names:
        checks.one_of("benchmark", known, encoding=name)
    for section in sections:
        checks.one_of("benchmark", SECTIONS, **{"--only": section})
    return PROFILES[profile], names, sections or [name for name in SECTIONS if name not in ASKED]


def measure(profile: Profile, names: Sequence[str], only: Sequence[str], folder: Path) -> None:
    """Measure one section after the other, and write all results after each."""
    every: dict[str, Callable[[], Section]] = {
        "peers": lambda: peers(*profile.peers),
        "encodings": lambda: encodings(names, *profile.encodings),
        "attention": lambda: attention(*profile.attention),
        "growth": lambda: growth(*profile.growth),
        "loop": lambda: loop(profile.loop),
        "data": lambda: data(*profile.data),
        "compile": lambda: compiled(names, *profile.compile),
        "answers": lambda: answers(profile.answers),
    }
    keep_freed()  # as training does
    console, found = Console(), dict[str, Section]()
    console.width = console.width if console.is_terminal else 160
    console.print("  ".join(f"{key} {value}" for key, value in machine().items()))
    for name in (name for name in SECTIONS if name in only):
        found[name] = section = every[name]()
        print_section(section)
        record = {"machine": machine(), "sections": {key: asdict(value) for key, value in found.items()}}
        write_text(folder / "benchmark.json", json.dumps(record, indent=1) + "\n")
        if PANELS.keys() & found.keys():
            write_picture(folder / "benchmark.png", draw(found), dpi=150)
    console.print(", ".join(str(path) for path in sorted(folder.iterdir())))


def print_section(section: Section) -> None:
    """Print a section as a table without empty columns."""
    columns = [column for column in COLUMNS if any(column in row for row in section.rows)]
    heads = [column.replace("_", " ") for column in columns]
    table = terminal.table(section.title, *heads, left=["contestant"], caption=" ".join(section.notes) or None)
    for row in section.rows:
        table.add_row(*(format(row[column], COLUMNS[column]) if column in row else "" for column in columns))
    terminal.show(table)


def machine() -> dict[str, Any]:
    """The properties of the machine on which times depend."""
    return {
        "torch": torch.__version__.partition("+")[0],
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "bfloat16_units": bfloat16_units(),
        "machine": platform.machine(),
    }
