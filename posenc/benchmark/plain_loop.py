"""A sweep as a plain loop over models of x-transformers. The section `answers` compares posenc's sweep with it.

The script draws batches, trains, validates, and tests at every length. It uses posenc's tasks, so that the sequences
are the same, but no Lightning, no Hydra, no checkpoints, no logs and no report.
"""

import json
import sys
import time
import tomllib
import warnings
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from posenc.streams import generator
from posenc.tasks.base import Task
from posenc.tasks.pattern import PositionAwarePatternDataset
from posenc.tasks.places import RelativePattern
from posenc.tasks.recall import Induction
from posenc.training.evaluation.sets import Batch, evaluation_set
from posenc.training.stopping.schedule import warmup_cosine

DIM, HEADS, LAYERS = 64, 4, 2
BATCH, WARM_UP, LENGTH, LENGTHS = 64, 100, 32, (32, 64, 128, 256)
EVALUATED = 32_768
"""Tokens in one batch of an evaluation."""
TASKS: dict[str, Callable[[], Task]] = {
    "pattern": lambda: PositionAwarePatternDataset(length=LENGTH, test_lengths=LENGTHS),
    "rel_pattern": lambda: RelativePattern(length=LENGTH, test_lengths=LENGTHS),
    "induction": lambda: Induction(length=LENGTH, test_lengths=LENGTHS),
}
RIVALS = tomllib.loads(files("posenc.benchmark").joinpath("rivals.toml").read_text())
ENCODINGS: dict[str, dict[str, dict[str, Any]]] = RIVALS["encodings"]
"""{encoding: its options in x-transformers}."""


class Model(nn.Module):
    """x-transformers' TransformerWrapper with a linear read-out of the last token or of the mean."""

    def __init__(self, encoding: str, task: Task) -> None:
        super().__init__()
        with warnings.catch_warnings():  # x-transformers uses torch.jit.script, which torch deprecates
            warnings.simplefilter("ignore", DeprecationWarning)
            from x_transformers import Decoder, Encoder, TransformerWrapper

        kind, chosen = Decoder if task.causal else Encoder, ENCODINGS[encoding]
        layers = kind(dim=DIM, depth=LAYERS, heads=HEADS, attn_dim_head=DIM // HEADS, verbose=False, **chosen["layers"])
        self.body = TransformerWrapper(
            num_tokens=task.vocab_size, max_seq_len=max(LENGTHS), attn_layers=layers, **chosen["wrapper"]
        )
        self.last, self.head = task.readout == "last", nn.Linear(DIM, task.num_outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (B, C)."""
        x = self.body(tokens, return_embeddings=True)
        return self.head(x[:, -1] if self.last else x.mean(1))


@torch.no_grad()
def accuracy(model: nn.Module, chosen: Batch) -> float:
    """The share of right answers on an evaluation set."""
    model.eval()
    size = max(1, EVALUATED // chosen[0].shape[1])
    pairs = zip(*(each.split(size) for each in chosen), strict=True)
    right = sum(int((model(tokens).argmax(-1) == targets).sum()) for tokens, targets in pairs)
    model.train()
    return right / len(chosen[0])


def run(encoding: str, task: Task, steps: int, every: int, sizes: Mapping[int, int]) -> tuple[float, dict[int, float]]:
    """Train and test one model. Returns the processor seconds of its steps, and {test length: accuracy}.

    every  steps between two validations
    sizes  {test length: sequences in its test set}
    """
    torch.manual_seed(0)
    model, seconds = Model(encoding, task), 0.0
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warmup_cosine(step, WARM_UP, steps))
    validation, train = evaluation_set(task, "validation", LENGTH, 1024), task.split("train")
    for step in range(steps):
        tokens, targets = train.sample(generator(0, f"data/train/{step}"), BATCH, LENGTH)
        began = time.process_time()
        optimizer.zero_grad()
        F.cross_entropy(model(tokens), targets).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        seconds += time.process_time() - began
        if (step + 1) % every == 0:
            accuracy(model, validation)
    return seconds, {length: accuracy(model, evaluation_set(task, "test", length, sizes[length])) for length in LENGTHS}


def main(request: str) -> None:
    """Run each encoding on each task of `request`, and print the processor seconds of all training steps, as JSON."""
    asked = json.loads(request)
    sizes = {int(length): size for length, size in asked["sizes"].items()}
    cells = [(encoding, TASKS[task]()) for task in asked["tasks"] for encoding in asked["encodings"]]
    ran = [run(encoding, task, asked["steps"], asked["every"], sizes) for encoding, task in cells]
    print(json.dumps(sum(seconds for seconds, _ in ran)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1])
