"""The section `compile`: the graphs that torch.compile makes of an encoder with each encoding, and their speed."""

import time
from collections.abc import Sequence
from copy import deepcopy

import torch
from torch._dynamo.utils import counters

from posenc.benchmark import models
from posenc.benchmark.sections import Row, Section, Shape, built
from posenc.benchmark.timing import race
from posenc.encodings.base import PositionalEncoding
from posenc.model.compiled import compile_encoder, compiler


def compiled(names: Sequence[str], shapes: Sequence[Shape], rounds: int, backend: str | None = None) -> Section:
    """Times of compiled and of plain steps; the number of graphs of a forward pass, with the reason of each break.

    Without a C++ compiler, or with another backend than inductor, nothing is timed.
    """
    section = Section("compile", "training step compiled by torch.compile; ratio: to the same step without it")
    if backend is None and compiler() is None:
        section.notes.append("This machine has no C++ compiler: graphs are counted, and nothing is timed.")
    backend = backend or ("inductor" if compiler() else "aot_eager")
    every = [*built(names, max(length for _, length in shapes))]
    if not names:
        every.insert(0, ("none", PositionalEncoding(), False))
    for size, length in shapes:
        for name, encoding, causal in every:
            section.rows.append(_row(name, encoding, causal, (size, length), rounds, backend, section))
    return section


def _row(
    name: str, encoding: PositionalEncoding, causal: bool, shape: Shape, rounds: int, backend: str, section: Section
) -> Row:
    plain = models.posenc_encoder(encoding, causal)
    encoder, batch = deepcopy(plain), models.batch(*shape)
    torch._dynamo.reset()
    counters.clear()
    compile_encoder(encoder, backend)
    row: Row = {"batch": shape[0], "length": shape[1], "contestant": name}
    step, began = models.training_step(encoder, batch), time.perf_counter()
    step()
    reasons = [reason.splitlines()[0] for reason in counters["graph_break"]]
    row |= {"graphs": counters["stats"]["unique_graphs"], "graph_breaks": len(reasons)}
    section.notes.extend(f"{name}: {reason}." for reason in reasons)
    if backend != "inductor":
        return row
    row["compile_s"] = time.perf_counter() - began
    timed = race({"plain": models.training_step(plain, batch), "compiled": step}, rounds, f"compile {name}")
    return row | timed["compiled"].row(timed["plain"])
