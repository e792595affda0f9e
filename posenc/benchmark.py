"""What an encoding costs: `python -m posenc.benchmark` times training steps of all encodings in turn, in one process.

Forward, backward and optimizer on one batch of `pattern`, in the default model. Rounds are interleaved, so that a drift
of the machine's speed meets all contestants; the ratio is of medians, to no encoding under the same mask.
"""

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch.nn import functional as F

from posenc import tables
from posenc.catalog import CONFIGS, Entry, entries
from posenc.checks import positive
from posenc.cli import mistakes
from posenc.encoder import Encoder
from posenc.encodings.base import PositionalEncoding
from posenc.streams import generator
from posenc.tasks.pattern import PositionAwarePatternDataset

BATCH, WARM_UP = 128, 2


def training_step(encoding: PositionalEncoding, causal: bool, length: int) -> Callable[[], None]:
    """One training step of the default model with this encoding."""
    task = PositionAwarePatternDataset(length=length)
    tokens, targets = task.sample(generator(0, "benchmark"), BATCH, length)
    encoder = Encoder(encoding, task.vocab_size, task.num_outputs, causal=causal)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(encoder(tokens), targets).backward()
        optimizer.step()

    return step


def measure(found: Sequence[Entry], length: int, rounds: int) -> dict[str, np.ndarray]:
    """Seconds of each of `rounds` steps for each encoding, and for none under either mask."""
    steps = {entry.name: training_step(entry.encoding, entry.causal, length) for entry in found if entry.name != "none"}
    for causal in (False, True):
        steps[_baseline(causal)] = training_step(PositionalEncoding(), causal, length)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in track(range(WARM_UP + rounds), "rounds"):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - began)
    return {name: np.array(values[WARM_UP:]) for name, values in seconds.items()}


def _baseline(causal: bool) -> str:
    return "none (causal)" if causal else "none"


def main(words: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser("python -m posenc.benchmark", description="What each encoding costs in training.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="encodings to time; none: all of them")
    parser.add_argument("--length", type=int, default=32, help="tokens in a sequence (32)")
    parser.add_argument("--rounds", type=int, default=20, help="steps of each encoding (20)")
    asked = parser.parse_args(words)
    with mistakes(CONFIGS):
        positive("benchmark", rounds=asked.rounds)
        found = list(entries(asked.names))
        seconds = measure(found, asked.length, asked.rounds)
    masks = {entry.name: entry.causal for entry in found} | {"none (causal)": True}
    median = {name: float(np.median(values)) for name, values in seconds.items()}
    title = (
        f"training step, {BATCH} sequences of {asked.length}, {torch.get_num_threads()} threads, {asked.rounds} rounds"
    )
    table = tables.table(title, "encoding", "ms, median", "quartiles", "ratio to none")
    ratio = {name: median[name] / median[_baseline(masks.get(name, False))] for name in median}
    for name in sorted(ratio, key=lambda name: ratio[name]):
        low, high = np.percentile(1e3 * seconds[name], (25, 75))
        table.add_row(name, f"{1e3 * median[name]:.1f}", f"{low:.1f} .. {high:.1f}", f"{ratio[name]:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
