"""Sentences about the numbers of an analysis. Every sentence is computed, and every threshold is named."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import combinations

from posenc.analysis import encoding_words, why
from posenc.analysis.encoding import span
from posenc.analysis.measure import Analysis
from posenc.report.pages.markdown import escape
from posenc.runs.files import LAST

READABLE, ROUGH = 0.5, 0.5
NEAR, EVEN, PEAKED = 0.5, 0.95, 0.1
SINK, POSITIONAL, ALIKE, ON_TARGET = 0.5, 0.5, 0.9, 0.5
COLLAPSED, ONE_WAY = 0.01, 0.95
TOLD = 2.0
"""A probe on tokens alone predicts places if its accuracy is at least TOLD times that of guessing."""


def render(analysis: Analysis, other: tuple[Analysis, Analysis] | None = None) -> str:
    """analysis.md. If there are two analyses to compare (before and after), it begins with why the run fails."""
    parts = {
        "Position in the stream": _stream(analysis),
        "Tokens": _tokens(analysis),
        "Attention": _attention(analysis),
        "Encoding": encoding_words.sentences(analysis.encoding),
        "How this is measured": _method(analysis),
    }
    lines = [f"# {escape(analysis.title)}", "", *_opening(analysis, other), ""]
    for title, sentences in parts.items():
        lines += [f"## {title}", "", *(f"- {sentence}" for sentence in sentences), ""]
    return "\n".join(lines)


def _opening(analysis: Analysis, other: tuple[Analysis, Analysis] | None) -> Iterator[str]:
    if other is None:
        yield why.stands(analysis)
        return
    yield from why.sentences(*other)
    yield ""
    yield from why.table(why.changes(*other))


def ends(row: Mapping[float, float], digits: int = 2) -> str:
    """Values from the first to the last layer: `0.51 at the input, 0.34, 0.03 at the end`."""
    values = [f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−") for value in row.values()]
    if len(values) > 6:
        return f"{values[0]} at the input and {values[-1]} after block {len(values) - 1}"
    return ", ".join(
        [f"{values[0]} at the input", *(f"{value} after block {k}" for k, value in enumerate(values) if k)]
    )


def places(layers: list[float]) -> str:
    """The names of some of h_0, ..., h_L: `at the input and after blocks 1 and 2`."""
    blocks = [int(layer) for layer in layers if layer]
    words = ["at the input"] if 0 in layers else []
    if blocks:
        words.append("after " + span(blocks).replace("layer", "block"))
    return " and ".join(words)


def _stream(analysis: Analysis) -> Iterator[str]:
    shares = {part: analysis.row("variance_share", part) for part in ("position", "token", "sequence")}
    yield f"Position explains this share of the variance of the stream: {ends(shares['position'])}."
    yield f"The token itself explains {ends(shares['token'])}."
    yield f"What all tokens of a sequence have in common explains {ends(shares['sequence'])}."
    linear, mlp = (analysis.row("probe_accuracy", arm) for arm in ("linear", "mlp"))
    readable = [layer for layer, accuracy in linear.items() if accuracy >= READABLE]
    if len(readable) == len(linear):
        yield f"A linear probe reads the place of a token throughout: accuracy {ends(linear)}."
    elif readable:
        yield f"A linear probe reads the place of a token {places(readable)} only: accuracy {ends(linear)}."
    else:
        yield f"A linear probe reads the place of a token nowhere: accuracy {ends(linear)}."
    selective = analysis.row("probe_selectivity", "linear")
    yield f"Its selectivity, the accuracy less that on shuffled places, is {ends(selective)}."
    more = [layer for layer in mlp if mlp[layer] >= READABLE and layer not in readable]
    if more:
        yield f"An MLP probe reads it {places(more)} too, so it is there, but not linearly: accuracy {ends(mlp)}."
    else:
        yield f"An MLP probe has accuracy {ends(mlp)}."
    distance = analysis.row("probe_relative_distance", "mlp")
    rough = [layer for layer, value in distance.items() if value <= ROUGH]
    where = f"knows the place roughly {places(rough)}" if rough else "does not even know the place roughly"
    yield f"The MLP probe {where}: its mean absolute distance over that of guessing is {ends(distance)}."
    alone, chance = analysis.row("probe_accuracy", "linear on tokens alone")[0], 1 / analysis.tokens
    if alone >= TOLD * chance:
        yield (
            f"Tokens alone tell places in this task: a linear probe on embeddings without position has accuracy "
            f"{alone:.2f}, where guessing has {chance:.2f}. Read the accuracies above against it."
        )


def _tokens(analysis: Analysis) -> Iterator[str]:
    ratio, cosine = analysis.row("dong_ratio", "stream"), analysis.row("token_cosine", "stream")
    last = analysis.layers
    verdict = "rank has collapsed" if ratio[last] <= COLLAPSED else "no rank collapse"
    yield f"The ratio of Dong is {ends(ratio)}: {verdict}."
    verdict = "all tokens point nearly one way" if cosine[last] >= ONE_WAY else "tokens still point different ways"
    yield f"The mean cosine of two tokens is {ends(cosine)}: {verdict}."
    rank = analysis.row("effective_rank", "stream")
    most = min(analysis.tokens, analysis.run.module.encoder.tokens.embedding_dim)
    yield f"The effective rank of a sequence is {ends(rank, 1)}, of {most} that are possible."


def heads(analysis: Analysis, quantity: str, low: float = -math.inf, high: float = math.inf) -> str:
    """The heads whose value is in [low, high]: `layer 1: heads 1 and 2; layer 2: head 0`."""
    chosen: dict[int, list[int]] = defaultdict(list)
    for head in range(analysis.heads):
        for layer, value in analysis.row(quantity, f"head {head}").items():
            if low <= value <= high:
                chosen[int(layer)].append(head)
    return "; ".join(
        f"layer {layer}: {span(found).replace('layer', 'head')}" for layer, found in sorted(chosen.items())
    )


def _attention(analysis: Analysis) -> Iterator[str]:
    even = analysis.row("attention_distance", "uniform")
    near = heads(analysis, "attention_distance", high=NEAR * even[1])
    yield f"Heads that look near: {near or 'none'} (uniform attention has a mean distance of {even[1]:.1f} tokens)."
    yield f"Heads that are nearly uniform: {heads(analysis, 'attention_entropy', EVEN) or 'none'}."
    yield f"Heads that look at nearly one key each: {heads(analysis, 'attention_entropy', high=PEAKED) or 'none'}."
    if analysis.row("sink_rate", "uniform")[1] > 0:
        yield "Attention sinks cannot be told at this length, at which uniform attention would count as one."
    else:
        yield f"Attention sinks on the first token: {heads(analysis, 'sink_rate', SINK) or 'none'}."
    trained, uniform = (analysis.row("rollout_first_token", arm)[analysis.layers] for arm in ("trained", "uniform"))
    yield (
        f"By rollout over all layers the last query holds {trained:.3f} of the first token; under uniform attention it "
        f"would hold {uniform:.3f}."
    )
    relative = heads(analysis, "toeplitzness_relative", POSITIONAL)
    absolute = heads(analysis, "toeplitzness_absolute", POSITIONAL)
    yield f"Heads whose logits are mostly distance: {relative or 'none'}; mostly the two places: {absolute or 'none'}."
    alike = [
        f"layer {layer} heads {g} and {h}"
        for layer in analysis.numbers
        for (g, h), value in analysis.pairs_of_heads(layer).items()
        if value >= ALIKE
    ]
    many = f"{len(alike)} pairs, such as {alike[0]}" if len(alike) > 4 else ", ".join(alike) or "none"
    yield f"Heads of a layer with nearly the same attention: {many}."
    if analysis.layers > 1:
        rows = {layer: analysis.row("layer_similarity", f"layer {layer}") for layer in analysis.numbers}
        pairs = combinations(analysis.numbers, 2)
        value, first, second = max((rows[first][second], first, second) for first, second in pairs)
        verdict = "attention repeats itself" if value >= ALIKE else "no two layers attend alike"
        yield f"The two most similar layers, {first} and {second}, have a mean cosine of {value:.2f}: {verdict}."
    yield from _target(analysis)


def _target(analysis: Analysis) -> Iterator[str]:
    if analysis.no_target:
        yield f"Mass on the answer is not measured: {analysis.no_target}"
        return
    rows = {head: analysis.row("target_mass", f"head {head}") for head in range(analysis.heads)}
    mass, head, layer = max((value, head, int(layer)) for head, row in rows.items() for layer, value in row.items())
    verdict = "finds the answer" if mass >= ON_TARGET else "finds the answer in part"
    verdict = "does not find the answer" if mass < 2 / analysis.tokens else verdict
    yield f"The best head, layer {layer} head {head}, puts {mass:.2f} on the answer's token: it {verdict}."


def _method(analysis: Analysis) -> Iterator[str]:
    result = analysis.run.result
    scores = (result.get("test") or {}).get(str(analysis.length), {})
    whose = "" if analysis.run.checkpoint == LAST else f" of checkpoints/{LAST}, which is missing:"
    accuracy = f"; test accuracy at this length{whose} {scores['accuracy']:.3f}" if "accuracy" in scores else ""
    yield f"Weights of checkpoints/{analysis.run.checkpoint}, trained at {_lengths(analysis)}{accuracy}."
    attended = "" if analysis.attended == analysis.sequences else f", attention on {analysis.attended} of them"
    yield (
        f"{analysis.sequences} sequences of {analysis.tokens} tokens from the test set{attended}; probes are fitted on "
        f"{2 * analysis.sequences} others and read LayerNorm(h)."
    )
    yield (
        f"Readable: probe accuracy ≥ {READABLE:g}. Roughly known: distance ≤ {ROUGH:g} of guessing; naming the middle "
        "alone has 0.75. Tokens alone tell places: accuracy ≥ "
        f"{TOLD:g} times guessing."
    )
    yield (
        f"Near: mean distance ≤ {NEAR:g} of uniform attention's. Nearly uniform: entropy ≥ {EVEN:g}; nearly one key: "
        f"≤ {PEAKED:g}. Sink: more than 0.3 of the attention on the first token in ≥ {SINK:g} of the sequences. Mostly "
        f"distance or places: ≥ {POSITIONAL:g} of the logits' variance. Nearly the same: mean cosine ≥ {ALIKE:g}."
    )
    yield f"Rank collapse: ratio of Dong ≤ {COLLAPSED:g}. Nearly one way: cosine ≥ {ONE_WAY:g}."
    yield from encoding_words.thresholds(analysis.encoding)
    yield "Layers count from 1, heads from 0. Whether a probe can read a place does not say that the model uses it."


def _lengths(analysis: Analysis) -> str:
    shortest, longest = analysis.run.module.task.length
    return f"length {longest}" if shortest == longest else f"lengths {shortest} to {longest}"
