"""Every diagnostic of one run, as a long table.

quantity,arm,at,seed,value      `at` is a layer unless noted: stream l is the output of layer l (0: the input), and
                                attention l is that of layer l. Layers count from 1, as in TensorBoard, heads from 0

variance_share                  arm position, token, sequence, residual
dong_ratio                      arm stream; geometric mean over sequences
token_cosine, effective_rank    arm stream
probe_accuracy, probe_distance, probe_selectivity, probe_relative_distance
                                arm linear, mlp; "linear on tokens alone" (at 0) reads embeddings without position
attention_entropy, attention_distance, sink_rate, toeplitzness_relative, toeplitzness_absolute, target_mass
                                arm "head h"; "uniform" is equal attention to all visible keys
rollout_first_token             arm trained, uniform; the share of the first token in the last query after layer l
head_similarity                 arm "heads g and h"
layer_similarity                arm "layer l", at the other layer
bias                            arm "layer l head h", at a signed distance
rotary_rate                     arm "layer l", at the pair, the fastest first; radians a position
rotary_usage                    arm "layer l head h", at the pair; `rotary_still` at 0: dimensions that do not turn
position_cosine                 arm "layer l" (0: the input), at a distance in tokens: mean cosine of two vectors
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from posenc.analysis.encoding import Shape, shape
from posenc.analysis.observe import Observed, check_length, check_size, observe
from posenc.attention.record import LayerRecord
from posenc.checks import ConfigError
from posenc.diagnostics import (
    ProbeScore,
    attention_distance,
    attention_entropy,
    dong_ratio,
    effective_rank,
    head_similarity,
    layer_similarity,
    linear_probe,
    mlp_probe,
    position_share,
    rollout,
    sink_rate,
    target_mass,
    toeplitzness,
    token_cosine,
    uniform_distance,
)
from posenc.diagnostics.probes import STEPS
from posenc.runs.result import chosen
from posenc.statistics.measurements import Measurements
from posenc.trained.load import Finished
from posenc.training.divergence import ran_out
from posenc.training.module import SequenceModule

Row = tuple[str, str, float, Tensor | float]
"""quantity, arm, at, value."""


@dataclass(frozen=True)
class Analysis:
    """The numbers of one run, and the data for its figures.

    found      the long table
    weights    for each layer the mean of its attention over sequences, (H, N, N)
    encoding   the learned encoding
    length     the length of the sequences; they have `tokens` tokens
    sequences  how many sequences were measured; attention was kept for `attended` of them
    no_target  why there is no target mass, if there is none
    """

    run: Finished
    found: Measurements
    weights: list[Float[Tensor, "H N N"]]
    encoding: Shape
    length: int
    tokens: int
    sequences: int
    attended: int
    no_target: str

    @property
    def layers(self) -> int:
        """The number of attention layers."""
        return len(self.weights)

    @property
    def numbers(self) -> range:
        """The numbers of the layers: 1, ..., L."""
        return range(1, self.layers + 1)

    @property
    def heads(self) -> int:
        """The number of heads of a layer."""
        return len(self.weights[0])

    @property
    def title(self) -> str:
        """The name of the run and the length."""
        result = self.run.result
        names = ("=".join(chosen(result)), f"positions={result.get('positions', 'contiguous')}")
        return " · ".join((str(result["dataset"]), *names, f"seed {self.run.seed}", f"length {self.length}"))

    def pairs_of_heads(self, layer: int) -> dict[tuple[int, int], float]:
        """Mean cosine of the attention for each pair of heads of a layer."""
        pairs = combinations(range(self.heads), 2)
        return {(g, h): self.row("head_similarity", f"heads {g} and {h}")[layer] for g, h in pairs}

    def row(self, quantity: str, arm: str) -> dict[float, float]:
        """`at` to value."""
        return {at: sample[self.run.seed] for at, sample in self.found.along(quantity, arm).items()}


def analyse(run: Finished, length: int | None = None, batch: int = 64, steps: int = STEPS) -> Analysis:
    """Measure a run on `batch` sequences of its test set.

    length  length of the sequences; None: the longest trained length
    steps   training steps of the MLP probe

    Raises ConfigError if the run is not defined at this length, or if there is too little memory.
    """
    longest: int = run.module.task.length[1]
    length = longest if length is None else length
    try:
        return _analyse(run, length, batch, steps)
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
        raise ConfigError(
            f"--length {length} and --batch {batch} do not fit into the memory ({' '.join(str(error).split())}); lower "
            "one of them."
        ) from error


def _analyse(run: Finished, length: int, batch: int, steps: int) -> Analysis:
    module = run.module
    check_length(module, length)
    check_size(module, length, batch)
    seen = observe(module, length, batch)
    encoding = shape(module, length, seen.asked)
    target, no_target = _target(module, seen)
    found = Measurements()
    for rows in (_streams(seen), _probes(seen, steps), _attention(seen.attention), target, _encoding(encoding)):
        found.extend((quantity, arm, at, run.seed, float(value)) for quantity, arm, at, value in rows)
    return Analysis(
        run=run,
        found=found,
        weights=[record.weights.mean(0) for record in seen.attention],
        encoding=encoding,
        length=length,
        tokens=seen.tokens.shape[1],
        sequences=len(seen.tokens),
        attended=len(seen.attention[0].weights),
        no_target=no_target,
    )


def _streams(seen: Observed) -> Iterator[Row]:
    for layer, stream in enumerate(seen.streams):
        for part, share in position_share(stream, seen.tokens).items():
            yield "variance_share", part, layer, share
        yield "dong_ratio", "stream", layer, dong_ratio(stream).log().mean().exp()
        yield "token_cosine", "stream", layer, token_cosine(stream).mean()
        yield "effective_rank", "stream", layer, effective_rank(stream).mean()


def _probes(seen: Observed, steps: int) -> Iterator[Row]:
    """Scores of probes on LayerNorm(h) without gain. A pre-norm layer has this input, so its scale does not matter."""

    def normed(*streams: Tensor) -> tuple[Tensor, ...]:
        return tuple(F.layer_norm(x, x.shape[-1:]) for x in streams)

    scores: list[tuple[str, int, ProbeScore]] = []
    for layer, pair in enumerate(zip(seen.fitted, seen.streams, strict=True)):
        fitted, scored = normed(*pair)
        scores.append(("linear", layer, linear_probe(fitted, scored)))
        scores.append(("mlp", layer, mlp_probe(fitted, scored, steps)))
    fitted, scored = normed(*seen.plain)
    scores.append(("linear on tokens alone", 0, linear_probe(fitted, scored)))
    for arm, layer, score in scores:
        yield "probe_accuracy", arm, layer, score.accuracy
        yield "probe_distance", arm, layer, score.distance
        yield "probe_relative_distance", arm, layer, score.distance / uniform_distance(seen.tokens.shape[1])
        yield "probe_selectivity", arm, layer, score.selectivity


def uniform(record: LayerRecord) -> Float[Tensor, "1 1 N N"]:
    """Attention with equal weights for all visible keys."""
    visible = (record.logits[:1, :1] > float("-inf")).to(record.weights.dtype)
    return visible / visible.sum(-1, keepdim=True)


def _heads(quantity: str, layer: int, values: Float[Tensor, " H"]) -> Iterator[Row]:
    """One row for each head."""
    return ((quantity, f"head {head}", layer, value) for head, value in enumerate(values))


def _attention(attention: Sequence[LayerRecord]) -> Iterator[Row]:
    even = [uniform(record) for record in attention]
    for layer, (record, level) in enumerate(zip(attention, even, strict=True), start=1):
        yield from _heads("attention_entropy", layer, attention_entropy(record.weights, record.logits))
        yield from _heads("attention_distance", layer, attention_distance(record.weights))
        yield "attention_distance", "uniform", layer, attention_distance(level)
        yield from _heads("sink_rate", layer, sink_rate(record.weights))
        yield "sink_rate", "uniform", layer, sink_rate(level)
        for kind, share in toeplitzness(record.logits).items():
            yield from _heads(f"toeplitzness_{kind}", layer, share)
        alike = head_similarity(record.weights)
        for g, h in combinations(range(len(alike)), 2):
            yield "head_similarity", f"heads {g} and {h}", layer, alike[g, h]
    for name, weights in (("trained", [record.weights for record in attention]), ("uniform", even)):
        for layer, total in enumerate(rollout(weights), start=1):
            yield "rollout_first_token", name, layer, total[:, -1, 0].mean()
    for one, row in enumerate(layer_similarity([record.weights for record in attention]), start=1):
        for other, value in enumerate(row, start=1):
            yield "layer_similarity", f"layer {one}", other, value


def _target(module: SequenceModule, seen: Observed) -> tuple[list[Row], str]:
    """Attention to the key with the answer, if the task knows it (`Task.sources`); otherwise the reason why not."""
    sources = module.task.sources(seen.tokens[: len(seen.attention[0].weights)])
    if sources is None:
        return [], f"{module.task} does not say at which token an answer stands."
    weights = [record.weights for record in seen.attention]
    target = F.pad(sources, (0, weights[0].shape[-1] - sources.shape[1]), value=-1)
    if not bool((target >= 0).any()):
        return [], f"{module.task} names no token at which an answer of these sequences stands."
    masses = (_heads("target_mass", layer, target_mass(each, target)) for layer, each in enumerate(weights, start=1))
    return [row for rows in masses for row in rows], ""


def _encoding(found: Shape) -> Iterator[Row]:
    for layer, curve in found.curves.items():
        for head, logits in enumerate(curve.logits):
            for distance, logit in zip(curve.distances.tolist(), logits.tolist(), strict=True):
                yield "bias", f"layer {layer} head {head}", distance, logit
    for layer, usage in found.usage.items():
        for pair, rate in enumerate(usage.rates):
            yield "rotary_rate", f"layer {layer}", pair, rate
        for head, (turning, still) in enumerate(zip(usage.usage, usage.still, strict=True)):
            for pair, value in enumerate(turning):
                yield "rotary_usage", f"layer {layer} head {head}", pair, value
            yield "rotary_still", f"layer {layer} head {head}", 0, still
    for layer in found.vectors:
        cosine = found.cosine(layer)
        for distance in range(len(cosine)):
            yield "position_cosine", f"layer {layer}", distance, torch.diagonal(cosine, distance).mean()
