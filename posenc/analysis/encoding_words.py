"""Sentences about the curves, frequencies and vectors of an encoding."""

import math
from collections.abc import Iterator

import torch

from posenc.analysis.encoding import Curve, Shape, span
from posenc.diagnostics import RotaryUsage

FLAT, CONSTANT, STEP = 1e-6, 0.02, 0.1
KIN, FAINT = 0.5, 0.1
HOOKS = {"embed": "adds vectors to the tokens", "rotate": "changes queries and keys", "bias": "adds to the logits"}


def sentences(shape: Shape) -> Iterator[str]:
    """All sentences about the encoding."""
    does = [HOOKS[hook] for hook in shape.hooks]
    yield (
        f"The encoding {' and '.join(does)}." if does else "No encoding: position enters by the mask alone, if at all."
    )
    yield from _bias(shape)
    for layer, usage in shape.usage.items():
        yield _frequencies(layer, usage, shape.distance)
    if "rotate" in shape.hooks and not shape.usage:
        yield "It turns no pair of dimensions, so there are no frequencies to tell of."
    yield from _vectors(shape)


def thresholds(shape: Shape) -> Iterator[str]:
    """The thresholds that the sentences used."""
    yield (
        f"Training meets distances up to {shape.distance:g} and positions up to {shape.position:g}; the encoding is "
        f"looked at up to length {shape.length}."
    )
    if shape.curves:
        yield (
            f"Bias beyond training: constant if it varies by ≤ {CONSTANT:g} of its range in training; a step at the "
            f"edge if it jumps there by ≥ {STEP:g} of that range."
        )
    if shape.usage:
        yield "A pair is slow if it makes less than one turn over the trained distances."
    if shape.vectors:
        yield (
            f"Neighbours are akin: the cosine of their vectors is by ≥ {KIN:g} above that of places half the trained "
            f"range apart; nearness does not show: by < {FAINT:g}."
        )


def _bias(shape: Shape) -> Iterator[str]:
    groups = shape.distinct()
    for layers, curve in groups[:4]:
        yield f"Bias of {span(layers)}: {describe(curve, shape.distance)}."
    if len(groups) > 4:
        yield f"The biases of {len(groups) - 4} more layers are in bias.png."


def describe(curve: Curve, trained: float) -> str:
    """Range and peak inside the trained distances, and the bias beyond them."""
    inside = curve.distances.abs() <= trained + 1e-6
    known, distances = curve.logits[:, inside], curve.distances[inside]
    spread = known.amax(1) - known.amin(1)
    span_of_logits = float(spread.max())
    if span_of_logits <= FLAT:
        text = "flat at the trained distances"
    else:
        peaks = sorted({float(peak) for peak in distances[known.argmax(1)]}, key=abs)
        named = ", ".join(f"{peak:+g}" if peak else "0" for peak in peaks[:4]) + (", ..." if len(peaks) > 4 else "")
        named = named.replace("-", "−")
        text = f"it spans up to {span_of_logits:.2f} logits in a head; heads have their highest at distance {named}"
    if bool(inside.all()):
        return text + ", and no longer distance was looked at"
    return f"{text}; {_beyond(curve, inside, span_of_logits)}"


def _beyond(curve: Curve, inside: torch.Tensor, spread: float) -> str:
    """The bias beyond the trained distances, on the side where it changes most."""
    scale = max(spread, FLAT)
    jump = varies = 0.0
    for side in (curve.distances < 0, curve.distances > 0):
        out, known = side & ~inside, side & inside
        if not bool(out.any()) or not bool(known.any()):
            continue
        beyond = curve.logits[:, out]
        first = curve.distances[out].abs().argmin()
        edge = curve.distances[known].abs().argmax()
        jump = max(jump, float((beyond[:, first] - curve.logits[:, known][:, edge]).abs().max()))
        varies = max(varies, float((beyond.amax(1) - beyond.amin(1)).max()))
    constant = varies <= CONSTANT * scale
    if constant and jump < STEP * scale:
        return "beyond the trained distances it stays what it is at their edge"
    if constant:
        return f"beyond the trained distances it is constant, after a step of {jump:.2f} at their edge"
    step = f", after a step of {jump:.2f} at their edge" if jump >= STEP * scale else ""
    return f"beyond the trained distances it goes on changing, by up to {varies:.2f}{step}"


def _frequencies(layer: int, usage: RotaryUsage, distance: float) -> str:
    slow = usage.rates * max(distance, 1) < 2 * math.pi
    total = usage.usage.sum(0)
    share = float(total[slow].sum() / total.sum())
    loudest = int(total.argmax())
    rate = float(usage.rates[loudest])
    still = float(usage.still.mean() / (usage.usage.sum(1) + usage.still).mean())
    rest = f"; dimensions that do not turn hold {still:.2f} of all" if still > FLAT else ""
    turn = f"one turn in {2 * math.pi / rate:.0f} positions" if rate > 1e-9 else "no turn at all"
    return (
        f"Layer {layer} has {share:.2f} of its ‖q‖·‖k‖ in slow pairs, which are {int(slow.sum())} of {len(slow)}; the "
        f"loudest pair is number {loudest} from the fastest ({turn}){rest}."
    )


def _vectors(shape: Shape) -> Iterator[str]:
    for layer in list(shape.vectors)[:4]:
        cosine = shape.cosine(layer, shape.places)
        if len(cosine) < 3:
            continue
        half = len(cosine) // 2
        next_to = float(torch.diagonal(cosine, 1).mean()) + 0.0
        far = float(cosine[torch.ones_like(cosine).triu(half) > 0].mean()) + 0.0
        where = f" of layer {layer}" if len(shape.vectors) > 1 else ""
        verdict = "neighbours are akin" if next_to >= far + KIN else "nearness shows in them a little"
        if next_to < far + FAINT:
            verdict = "nearness does not show in them"
        yield (
            f"Position vectors{where}: mean cosine {next_to:.2f} between neighbours, {far:.2f} between places at least "
            f"{half} apart: {verdict}."
        ).replace("-", "−")
