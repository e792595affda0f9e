"""One sentence for each figure of an analysis. It is about one model, so it has no interval."""

import torch

from posenc.analysis.encoding import Shape
from posenc.analysis.measure import Analysis
from posenc.report.words import fixed
from posenc.terminal import count


def findings(analysis: Analysis) -> dict[str, str]:
    """{name of a figure: its title}."""
    share = [max(0.0, value) for value in analysis.row("variance_share", "position").values()]
    probe = analysis.row("probe_accuracy", "linear")
    best = max(probe, key=lambda layer: probe[layer])
    where = f"after {count(int(best), 'block')}" if best else "at the input"
    looks = _target(analysis) or _evenness(analysis)
    found = {
        "streams": f"Position has {share[0]:.0%} of the variance at the input, {share[-1]:.0%} after the last block",
        "probes": f"A linear probe names the place of a token best {where}: {probe[best]:.0%} right",
        "heads": looks,
        "attention": looks,
    }
    if analysis.heads > 1:
        found["similarity"] = _alike(analysis)
    return found | _encoding(analysis.encoding)


def _target(analysis: Analysis) -> str:
    if analysis.no_target:
        return ""
    rows = {head: analysis.row("target_mass", f"head {head}") for head in range(analysis.heads)}
    mass, layer, head = max((value, layer, head) for head, row in rows.items() for layer, value in row.items())
    return f"The best head, layer {layer:g} head {head}, puts {fixed(mass, 2)} of its attention on the answer"


def _evenness(analysis: Analysis) -> str:
    rows = [analysis.row("attention_entropy", f"head {head}") for head in range(analysis.heads)]
    means = {layer: sum(row[layer] for row in rows) / len(rows) for layer in analysis.numbers}
    low = min(means, key=lambda layer: means[layer])
    return f"Attention is most peaked in layer {low}: mean entropy {fixed(means[low], 2)} of that of even attention"


def _alike(analysis: Analysis) -> str:
    pairs = [
        (value, layer, pair) for layer in analysis.numbers for pair, value in analysis.pairs_of_heads(layer).items()
    ]
    (most, layer, (g, h)), (least, other, (i, j)) = max(pairs), min(pairs)
    said = f"Heads {g} and {h} of layer {layer} attend most alike (cosine {fixed(most, 2)})"
    return said + ("" if len(pairs) == 1 else f", heads {i} and {j} of layer {other} least ({fixed(least, 2)})")


def _encoding(shape: Shape) -> dict[str, str]:
    found: dict[str, str] = {}
    if shape.curves:
        layer, curve = max(shape.curves.items(), key=lambda item: _span(item[1].logits))
        logits, distances = curve.logits, curve.distances
        head = int((logits.amax(-1) - logits.amin(-1)).argmax())
        top = float(distances[logits[head].argmax()])
        found["bias"] = (
            f"The bias spans {fixed(_span(logits), 2)} logits in layer {layer} head {head}, the widest, which has its "
            f"highest at distance {fixed(top, 0)}"
        )
    if shape.usage:
        layer, usage = max(shape.usage.items(), key=lambda item: float(item[1].usage.max()))
        head, pair = divmod(int(usage.usage.argmax()), usage.usage.shape[-1])
        rate = float(usage.rates[pair])
        found["frequencies"] = f"Used most: {rate:.2g} radians a position, by head {head} of layer {layer}"
    if shape.vectors:
        cosine = shape.cosine(next(iter(shape.vectors)))
        if len(cosine) > 1:
            near = float(torch.diagonal(cosine, 1).mean())
            found["position_vectors"] = f"Vectors of neighbouring places have a mean cosine of {fixed(near, 2)}"
    return found


def _span(logits: torch.Tensor) -> float:
    return float((logits.amax(-1) - logits.amin(-1)).max())
