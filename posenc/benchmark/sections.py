"""The sections `peers`, `encodings`, `growth` and `data`. Each measures and returns rows of plain values."""

import importlib.util
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from posenc.benchmark import models
from posenc.benchmark.timing import race
from posenc.catalog import encodings as catalog
from posenc.catalog import tasks as task_catalog
from posenc.catalog.page import node_of, options
from posenc.encodings.base import PositionalEncoding
from posenc.model.encoder import Encoder
from posenc.streams import generator
from posenc.training.memory import saved_bytes
from posenc.training.precision import automatic, bfloat16_units

MEMORY_SHARE = 1 / 8
"""A model that keeps more than this share of memory for backward is not timed: its backward pass needs far more."""

Row = dict[str, Any]
Shape = tuple[int, int]
"""(sequences in a batch, tokens in a sequence)."""


@dataclass
class Section:
    """A table of plain values with notes."""

    name: str
    title: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def described(model: nn.Module, size: int, length: int) -> Row:
    """The number of parameters, and the MiB kept for backward."""
    tokens, _ = models.batch(size, length)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "saved_mib": saved_bytes(model, lambda: model(tokens)) / 2**20,
    }


def peers(shapes: Sequence[Shape], rounds: int) -> Section:
    """posenc in its default precision and in float32, other libraries, and the matrix products alone."""
    section = Section("peers", "training step and evaluation, learned absolute positions; ratio: to the fastest peer")
    own = automatic("cpu")
    present = {name: make for name, make in models.PEERS.items() if name.startswith("torch") or installed(name)}
    for absent in sorted(models.PEERS.keys() - present.keys()):
        section.notes.append(f"{absent} is not installed; type pip install -c constraints.txt -e '.[benchmark]'.")
    if not bfloat16_units():
        section.notes.append("This CPU has no bfloat16 units, so `auto` is 32-true, and bfloat16 is not measured.")
    for size, length in shapes:
        precisions = ["32-true", *([own] if own != "32-true" else [])]
        contestants: dict[str, nn.Module] = {
            f"posenc, {precision}": models.posenc_encoder(models.learned_absolute(length), precision=precision)
            for precision in precisions
        }
        contestants |= {name: make(length) for name, make in present.items()}
        steps: dict[str, Any] = {
            name: models.training_step(
                model, models.batch(size, length), fused=True if name.startswith("posenc") else None
            )
            for name, model in contestants.items()
        }
        limits = {"32-true": torch.float32} | ({own: torch.bfloat16} if own != "32-true" else {})
        steps |= {f"products alone, {name}": models.products(size, length, dtype) for name, dtype in limits.items()}
        timed = race(steps, rounds, f"peers {size} × {length}")
        passes = {name: models.evaluation(model, size, length) for name, model in contestants.items()}
        evaluated = race(passes, max(3, rounds // 2), f"peers {size} × {length}, evaluation")
        fastest = min((timed[name] for name in present), key=lambda timing: timing.median)
        for name, timing in timed.items():
            row: Row = {"batch": size, "length": length, "contestant": name} | timing.row(fastest)
            if name in contestants:
                row |= {"evaluation_ms": evaluated[name].median} | described(contestants[name], size, length)
            if name.startswith("posenc"):
                row["share_of_limit"] = timed[f"products alone, {name.partition(', ')[2]}"].median / timing.median
            section.rows.append(row)
    return section


def installed(peer: str) -> bool:
    """Whether the library of a peer is installed."""
    return importlib.util.find_spec({"x-transformers": "x_transformers"}.get(peer, "transformers")) is not None


def encodings(names: Sequence[str], shapes: Sequence[Shape], rounds: int) -> Section:
    """A step of every encoding in float32, as a ratio to `none` under the same mask."""
    section = Section("encodings", "training step of each encoding; ratios: to none under the same mask")
    every = [*built(names, max(length for _, length in shapes))]
    for size, length in shapes:
        contestants = {name: models.posenc_encoder(encoding, causal) for name, encoding, causal in every}
        limit = MEMORY_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        heavy = {name for name, model in contestants.items() if size * _kept_for_one(model, length) > limit}
        if heavy:
            left_out = f"Left out at {size} × {length}, because backward keeps over {MEMORY_SHARE:.0%} of memory: "
            section.notes.append(left_out + ", ".join(sorted(heavy)) + ".")
        contestants = {name: model for name, model in contestants.items() if name not in heavy}
        baselines = {_none(causal): models.posenc_encoder(PositionalEncoding(), causal) for causal in (False, True)}
        contestants = baselines | contestants
        masks = {name: causal for name, _, causal in every} | {_none(True): True}
        steps = {n: models.training_step(m, models.batch(size, length)) for n, m in contestants.items()}
        timed = race(steps, rounds, f"encodings {size} × {length}")
        about = {name: described(model, size, length) for name, model in contestants.items()}
        for name, timing in sorted(timed.items(), key=lambda item: item[1].median):
            baseline = _none(masks.get(name, False))
            row = {"batch": size, "length": length, "contestant": name} | timing.row(timed[baseline]) | about[name]
            row["saved_ratio"] = about[name]["saved_mib"] / about[baseline]["saved_mib"]
            section.rows.append(row)
    return section


def _kept_for_one(model: nn.Module, length: int) -> int:
    """Bytes kept for backward by a batch of one sequence, including what sequences share, such as FIRE's table."""
    tokens, _ = models.batch(1, length)
    return saved_bytes(model, lambda: model(tokens))


def _none(causal: bool) -> str:
    return "none (causal)" if causal else "none"


def built(names: Sequence[str], longest: int) -> Iterator[tuple[str, PositionalEncoding, bool]]:
    """(name, encoding, whether its mask is causal) of `names`, or of all encodings, except those without hooks."""
    files = options("encoding")
    shape = (f"model.dim={models.DIM}", f"model.num_heads={models.HEADS}")
    for name in names or files:
        limit = [f"encoding.max_length={longest}"] if "max_length" in node_of(files[name]) else []
        encoding = catalog.build(files[name], *shape, *limit)
        if encoding.hooks:
            yield name, encoding, encoding.causal_only


def growth(shapes: Sequence[Shape], rounds: int) -> Section:
    """The time of a step at each length, with a constant number of tokens, and the growth of its operations."""
    section = Section("growth", "training step without encoding against length; ratios: to the first row")
    made = {
        f"{size} × {length}": models.training_step(
            models.posenc_encoder(PositionalEncoding()), models.batch(size, length)
        )
        for size, length in shapes
    }
    timed = race(made, rounds, "growth")
    size, length = shapes[0]
    first, operations = timed[f"{size} × {length}"], size * length * (24 * models.DIM + 4 * length)
    for size, length in shapes:
        timing = timed[f"{size} × {length}"]
        predicted = size * length * (24 * models.DIM + 4 * length) / operations  # posenc.studies.quadratic_cost
        row = {"batch": size, "length": length, "contestant": "none"} | timing.row(first)
        section.rows.append(row | {"predicted": predicted, "ratio_to_predicted": row["ratio"] / predicted})
    return section


def data(names: Sequence[str], rounds: int) -> Section:
    """Time to draw a batch of 128, as a ratio to a step of the default model on it, for every task."""
    precision = automatic("cpu")
    section = Section("data", f"drawing a batch of 128 at the default length; ratio: to a step on it, {precision}")
    steps: dict[str, Any] = {}
    tasks = {entry.name: entry.task for entry in task_catalog.entries(names)}
    for name, task in tasks.items():
        encoder = Encoder(PositionalEncoding(), task.vocab_size, task.num_outputs, readout=task.readout)
        models.set_precision(encoder, precision)
        drawn = task.sample(generator(0, "benchmark"), 128, task.length[1])
        stream = generator(0, f"benchmark/{name}")
        steps[f"draw/{name}"] = lambda task=task, stream=stream: task.sample(stream, 128, task.length[1])
        steps[f"step/{name}"] = models.training_step(encoder, drawn)
    timed = race(steps, rounds, "data")
    for name, task in tasks.items():
        row = {"batch": 128, "length": task.length[1], "contestant": name}
        section.rows.append(row | timed[f"draw/{name}"].row(timed[f"step/{name}"]))
    section.rows.sort(key=lambda row: row["ratio"])
    return section
