"""`python -m tests.reliability.kills --times 50`: SIGKILL at random moments, resumed, against a run never stopped.

A fifth of the kills each is aimed at training, a validation, the test and the writing of a checkpoint, at a random
moment of it; a fifth at any moment. Equal means: last.ckpt (weights, optimizer, schedule, callbacks) and best.ckpt,
metrics.csv, by_position.csv and what TensorBoard shows (scalars, pictures) are bit-equal, result.json but for times.
"""

import argparse
import json
import logging
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from rich.progress import track
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from posenc.training.checkpoint_file import read
from tests.reliability.children import Child, finished

RUN = (
    "encoding=learned_relative", "dataset.length=[21,32]", "dataset.test_lengths=[32,48]", "model.dim=16",
    "model.num_heads=2", "model.num_layers=2", "model.dropout=0.1", "data.batch_size=16", "data.eval_size=1000",
    "data.eval_tokens_per_batch=2048", "trainer.validate_every=10",
    "trainer.checkpoint_every=6", "trainer.log_every=3", "~callbacks.progress", "threads=1",
)  # fmt: skip
"""Checkpoints at steps with and without a validation and a row of the log; all callbacks and loggers on."""
STEPS = 90
AIMS = ("any moment", "training", "validation", "test", "checkpoint")
TIMES = ("seconds", "wall_seconds", "tokens_per_second", "command")


logging.getLogger("tensorboard").setLevel(logging.ERROR)  # that a run was resumed is known


def outcome(folder: Path) -> dict[str, Any]:
    """All that a run leaves but its times, in a form that can be compared."""
    result = json.loads((folder / "result.json").read_text())
    left: dict[str, Any] = {"result": {key: value for key, value in result.items() if key not in TIMES}}
    for name in ("metrics.csv", "by_position.csv"):
        left[name] = (folder / name).read_bytes() if (folder / name).exists() else None
    for name in ("last", "best"):
        state = read(folder / "checkpoints" / f"{name}.ckpt")
        state["callbacks"]["Stopwatch"]["seconds"] = None
        left |= {f"{name}.ckpt{place}": value for place, value in leaves(state)}
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0, "images": 0})
    events.Reload()
    for tag in events.Tags()["scalars"]:
        left[f"TensorBoard {tag}"] = [(event.step, event.value) for event in events.Scalars(tag)]
    for tag in events.Tags()["images"]:
        left[f"TensorBoard {tag}"] = [(event.step, event.encoded_image_string) for event in events.Images(tag)]
    return left


def leaves(node: Any, place: str = "") -> Any:
    """Every value of a nested structure with its place; tensors as bytes."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, f"{place}/{key}")
    elif isinstance(node, list | tuple):
        for number, value in enumerate(node):
            yield from leaves(value, f"{place}/{number}")
    else:
        yield place, node.numpy(force=True).tobytes() if isinstance(node, torch.Tensor) else node


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Where two outcomes differ."""
    return sorted(key for key in a.keys() | b.keys() if a.get(key) != b.get(key))


def strike(child: Child, aim: str, whole: float, steps: int, chance: random.Random, signum: int) -> str:
    """Kill the child, or ask it to stop; the phase it was in."""
    if aim == "any moment":
        end = time.monotonic() + chance.uniform(0, whole)
        while time.monotonic() < end and not child.ended():
            time.sleep(0.001)
    else:
        visits, seen = 1 if aim == "test" else chance.randint(1, max(1, steps // 10 - 1)), 0
        inside = False
        while not child.ended() and seen < visits:  # the so-many-th time that it enters the phase, then a moment more
            now = child.phase == aim
            seen += now and not inside
            inside = now
        time.sleep(chance.uniform(0, {"test": 0.3, "training": 0.02, "validation": 0.05, "checkpoint": 0.004}[aim]))
    phase = "ended before" if child.ended() else child.phase
    child.send(signum)
    child.wait()
    return phase


def main(words: list[str] | None = None) -> int:
    """Kill, resume, compare; status 1 if anything differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.kills")
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--signal", choices=["KILL", "TERM", "INT"], default="KILL")
    parser.add_argument("--keep", action="store_true", help="keep the folders of runs that differ")
    asked = parser.parse_args(words)
    torch.set_num_threads(1)
    chance, root = random.Random(asked.seed), Path(tempfile.mkdtemp(prefix="kills_"))
    run = [*RUN, f"trainer.max_steps={asked.steps}"]
    signum = signal.Signals[f"SIG{asked.signal}"]
    began = time.monotonic()
    finished([*run, f"hydra.run.dir={root / 'whole'}"], root / "whole.log")
    whole = time.monotonic() - began
    expected = outcome(root / "whole")
    phases, bad = Counter[str](), []
    for k in track(range(asked.times), "killed and resumed"):
        folder = root / str(k)
        line = [*run, f"hydra.run.dir={folder}"]
        phase = strike(Child(line, root / f"{k}.log").start(), AIMS[k % len(AIMS)], whole, asked.steps, chance, signum)
        phases[phase] += 1
        status = Child(line, root / f"{k}.log").start().wait()
        wrong = [f"status {status}"] if status else differences(expected, outcome(folder))
        if wrong:
            bad.append(k)
            print(f"kill {k}, in {phase}: {len(wrong)} differ, such as {wrong[:4]}; see {folder}")
        elif not asked.keep:
            shutil.rmtree(folder)
    hit = ", ".join(f"{count} in {phase}" for phase, count in phases.most_common())
    print(f"{asked.times - len(bad)} of {asked.times} bit-equal to the uninterrupted run; {signum.name}: {hit}")
    if not bad:
        shutil.rmtree(root)
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
