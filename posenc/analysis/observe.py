"""The forward passes for an analysis. They record residuals, attention, and the inputs of each layer's encoding."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from posenc.attention.layer import SelfAttention
from posenc.attention.record import LayerRecord
from posenc.checks import MAX_NUMBERS, ConfigError, UndefinedAtLength, positive
from posenc.diagnostics import capture
from posenc.encodings.base import PositionalEncoding
from posenc.positions.positions import Positions
from posenc.streams import default_stream, generator
from posenc.training.evaluation.sets import evaluation_set
from posenc.training.module import SequenceModule

PAIRS = 2**23
"""Upper limit of the pairs of tokens, over layers and heads, whose attention is kept; at least one sequence is kept."""
PAIRS_AT_ONCE = 2**17
"""Upper limit of the pairs of tokens in a forward pass, which has at least one sequence."""
FITTED_SETS = 2
"""The number of sequences on which probes are fitted, for each sequence on which they are scored."""
FURTHER = 4
"""The encoding is drawn up to the longest test length, but at most up to FURTHER times the trained length."""
POSITION_BATCHES = 64
"""The number of batches of positions that are drawn to find out which distances occur in training."""


@dataclass(frozen=True)
class Asked:
    """The inputs of a layer's encoding: the input of its attention, and the positions of the tokens."""

    layer: SelfAttention
    x: Float[Tensor, "B N D"]
    encoding: PositionalEncoding
    positions: Positions


@dataclass(frozen=True)
class Observed:
    """The records of a model at one length, on sequences of the test set.

    tokens     (B, N) the sequences
    streams    the residuals h_0, ..., h_L at these tokens, without the token of a read-out
    fitted     the same for the 2·B other sequences on which probes are fitted
    plain      token embeddings without position, for (fitted, tokens)
    attention  logits, weights and bias of each layer, for as many sequences as memory allows; with the token of a
               read-out, if there is one
    asked      the inputs of each layer's encoding, for the same sequences
    """

    tokens: Int[Tensor, "B N"]
    streams: list[Float[Tensor, "B N D"]]
    fitted: list[Float[Tensor, "B N D"]]
    plain: tuple[Float[Tensor, "B N D"], Float[Tensor, "B N D"]]
    attention: list[LayerRecord]
    asked: list[Asked]


def check_size(module: SequenceModule, length: int, batch: int) -> None:
    """Raise ConfigError if the attention of one sequence or a residual of all is too large for any machine."""
    tokens = module.task.tokens(length)
    places = tokens + module.encoder.extra_positions
    maps = len(module.encoder.blocks) * _heads(module)
    if maps * places**2 > MAX_NUMBERS:
        raise ConfigError(
            f"--length {length}: the attention of one sequence is {maps} matrices of {places:,} by {places:,} numbers, "
            f"but at most {MAX_NUMBERS:,} are kept; choose a smaller --length."
        )
    kept = (FITTED_SETS + 1) * batch * places * module.encoder.tokens.weight.shape[1]
    if kept > MAX_NUMBERS:
        fits = max(1, MAX_NUMBERS * batch // kept)
        raise ConfigError(
            f"--batch {batch}: what {FITTED_SETS + 1} times as many sequences of length {length} leave in a layer is "
            f"{kept:,} numbers, and at most {MAX_NUMBERS:,} are kept; choose --batch {fits} or less."
        )


def check_length(module: SequenceModule, length: int) -> None:
    """Raise ConfigError if the task or the encoding is not defined at this length."""
    positive("analyze", minimum=2, **{"--length": length})
    task = module.task
    if not task.min_length <= length <= task.max_length:
        end = f"≥ {task.min_length}" + (f" and ≤ {task.max_length:g}" if task.max_length < float("inf") else "")
        raise ConfigError(f"--length {length}: {task} has sequences of length {end}.")
    check_size(module, length, 1)
    try:
        look(module, length, 1)
    except UndefinedAtLength as error:
        reason = str(error).partition(";")[0].rstrip(".")
        raise ConfigError(f"the run is not defined at --length {length} ({reason}); choose a shorter one.") from error


@torch.no_grad()
def observe(module: SequenceModule, length: int, batch: int) -> Observed:
    """Run the model in evaluation mode on `batch` sequences of the test set, and on 2·batch others for the probes."""
    tokens, _ = evaluation_set(module.task, "test", length, (FITTED_SETS + 1) * batch)
    own, others = tokens[:batch], tokens[batch:]
    N = tokens.shape[1]
    places = N + module.encoder.extra_positions
    size = max(1, PAIRS_AT_ONCE // places**2)
    streams, fitted = ([*_streams(module, part, size)] for part in (own, others))
    pairs = len(module.encoder.blocks) * _heads(module) * places**2
    attention, asked = _attend(module, own[: max(1, PAIRS // pairs)])
    embed = module.encoder.tokens
    return Observed(own, streams, fitted, (embed(others), embed(own)), attention, asked)


def look(module: SequenceModule, length: int, batch: int) -> tuple[list[LayerRecord], list[Asked]]:
    """Record only attention, on a few sequences of any length."""
    return _attend(module, evaluation_set(module.task, "test", length, batch)[0])


def reach(module: SequenceModule, length: int) -> int:
    """The length up to which the encoding is drawn: the longest defined test length, at most four trained lengths."""
    longest = module.task.length[1]
    for further in sorted(module.task.test_lengths, reverse=True):
        if length < further <= FURTHER * longest:
            try:
                look(module, further, 1)
            except UndefinedAtLength:
                continue
            return further
    return length


def trained(module: SequenceModule) -> tuple[float, float]:
    """The largest distance between two tokens and the largest position in training, over draws of the scheme.

    Distances outside the window do not occur.
    """
    tokens, _ = module.task.sample(generator(0, "analyze/trained"), POSITION_BATCHES, module.task.length[1])
    distance = position = 0.0
    with default_stream(0, "analyze/trained"):
        for row in tokens:
            placed = module.positions(row[None], training=True, extra=module.encoder.extra_positions).values
            distance = max(distance, float(placed.max() - placed.min()))
            position = max(position, float(placed.max()))
    window = module.encoder.window
    return (distance if window is None else min(distance, window)), position


def _layers(module: nn.Module) -> Iterator[SelfAttention]:
    return (part for part in module.modules() if isinstance(part, SelfAttention))


def _heads(module: nn.Module) -> int:
    return next(layer.num_heads for layer in _layers(module))


def _streams(module: SequenceModule, tokens: Tensor, size: int) -> Iterator[Tensor]:
    """h_0, ..., h_L, in passes of `size` sequences."""
    passes = []
    for part in tokens.split(size):
        with torch.no_grad(), default_stream(0, "analyze"), capture(module.encoder) as seen:
            module(part)
        passes.append([stream[:, : tokens.shape[1]] for stream in seen.streams])
    return (torch.cat(layer) for layer in zip(*passes, strict=True))


def _attend(module: SequenceModule, tokens: Tensor) -> tuple[list[LayerRecord], list[Asked]]:
    with torch.no_grad(), default_stream(0, "analyze"), capture(module.encoder) as seen, _asking(module) as asked:
        module(tokens)
    return seen.attention, asked


@contextmanager
def _asking(module: SequenceModule) -> Iterator[list[Asked]]:
    asked: list[Asked] = []
    hooks = [
        layer.register_forward_pre_hook(lambda layer, given: asked.append(Asked(layer, *given[:3])))  # pyright: ignore[reportArgumentType]
        for layer in _layers(module)
    ]
    try:
        yield asked
    finally:
        for hook in hooks:
            hook.remove()
