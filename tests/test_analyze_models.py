"""What is measured and said of models as they start: every encoding, several tasks and schemes, sentences."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from matplotlib.axis import Axis
from omegaconf import DictConfig

from posenc.analysis import figures, words
from posenc.analysis.encoding_words import describe
from posenc.analysis.measure import Analysis, analyse
from posenc.analysis.observe import look
from posenc.attention.bias import ByDistance
from posenc.attention.layer import SelfAttention
from posenc.attention.mask import Mask
from posenc.checks import ConfigError
from posenc.config.build import build_module
from posenc.config.make import make
from posenc.diagnostics.bias_curve import Curve, bias_curve
from posenc.encodings import LearnedRelativePositionalBias
from posenc.positions.schemes import PositionScheme
from posenc.trained.load import Finished
from posenc.training.module import SequenceModule
from tests.conftest import options
from tests.test_analyze import BATCH, SHORT, TINY

ALL_HEADS = {f"layer {layer} head {head}" for layer in (1, 2) for head in (0, 1)}


def fresh(composed: Callable[..., DictConfig], *overrides: str) -> Finished:
    """A run whose model is as it starts; causal where the encoding says that it must be."""
    config = composed(*TINY, *overrides)
    task = make(config, "dataset")
    try:
        module = build_module(config, task)
    except ConfigError as error:
        if "model.causal=true" not in str(error):
            raise
        config.model.causal = True
        module = build_module(config, task)
    result = {"encoding": "one", "dataset": "some", "seed": 0, "status": "completed"}
    return Finished(Path(), result, module.eval(), "last.ckpt")


def mask(run: Finished) -> Mask:
    return next(part for part in run.module.modules() if isinstance(part, SelfAttention)).mask


def table_of(module: SequenceModule) -> torch.Tensor:
    encoding = module.encoder.encoding(0)
    assert isinstance(encoding, LearnedRelativePositionalBias)
    return encoding.get_parameter("table")


def check(analysis: Analysis) -> str:
    """Every number is finite and in its range; the text."""
    share, cosine = (-1e-5, 1 + 1e-5), (-1 - 1e-5, 1 + 1e-5)
    shares = ("probe_accuracy", "attention_entropy", "sink_rate", "rollout_first_token", "toeplitzness_relative",
              "toeplitzness_absolute", "head_similarity", "layer_similarity")  # fmt: skip
    bounds = dict.fromkeys(shares, share) | dict.fromkeys(("token_cosine", "position_cosine"), cosine)
    bounds |= {"effective_rank": (1 - 1e-4, 16 + 1e-4), "rotary_usage": (0, math.inf), "rotary_rate": (0, math.pi)}
    for quantity, arm, at, _, value in analysis.found.rows():
        low, high = bounds.get(quantity, (-math.inf, math.inf))
        assert math.isfinite(value), (quantity, arm, at)
        assert low <= value <= high, (quantity, arm, at, value)
    return words.render(analysis)


@pytest.mark.parametrize("name", options("encoding"))
def test_every_encoding(composed: Callable[..., DictConfig], name: str) -> None:
    run = fresh(composed, f"encoding={name}", *SHORT)
    analysis = analyse(run, batch=BATCH, steps=2)
    text = check(analysis)
    hooks = run.module.encoder.encoding(0).hooks
    found = analysis.encoding
    assert bool(found.curves) == ("bias" in hooks)
    assert bool(found.vectors) == ("embed" in hooks)
    assert not found.usage or "rotate" in hooks
    assert ("No encoding" in text) == (not hooks)
    assert found.length == 24  # the longest test length
    if type(run.module.positions) is PositionScheme:  # one brings a scheme of its own
        assert (found.distance, found.position, found.places) == (20, 20, 21)
    for curve in found.curves.values():
        assert float(curve.distances.abs().max()) == 23
        assert (float(curve.distances.max()) == 0) == mask(run).causal


@pytest.mark.parametrize(
    "overrides",
    [
        ("dataset=text", "dataset.length=16", "dataset.test_lengths=[16,24]", "encoding=rope"),
        ("dataset=addition_index_hints", "positions=within_number", "encoding=fourier"),
        ("model.readout=query", "positions=randomized", "positions.span=64", "encoding=t5", *SHORT),
        ("model.norm=post", "model.window=3", "model.causal=true", "positions=shifted", "encoding=shaw", *SHORT),
        ("model.num_layers=1", "model.num_heads=1", "positions=scaled", "encoding=cope", *SHORT),
    ],
    ids=lambda overrides: overrides[0],
)
def test_tasks_schemes_and_shapes(composed: Callable[..., DictConfig], overrides: tuple[str, ...]) -> None:
    check(analyse(fresh(composed, *overrides), batch=BATCH, steps=2))


def test_trained_distances_are_those_of_the_scheme_and_the_window(composed: Callable[..., DictConfig]) -> None:
    for chosen, distance, position in (
        (("positions=shifted", "positions.max_shift=9"), 20, 29),
        (("positions=randomized", "positions.span=40"), 39, 39),
        (("model.window=5",), 5, 20),
    ):
        found = analyse(fresh(composed, "encoding=t5", *chosen, *SHORT), batch=2, steps=1).encoding
        assert (found.distance, found.position) == (distance, position)


def test_curves_say_what_was_added_and_whether_it_goes_on(composed: Callable[..., DictConfig]) -> None:
    module = fresh(composed, "encoding=learned_relative", *SHORT).module
    table = table_of(module)
    with torch.no_grad():
        table[:, 128 - 20 : 128 + 21] = torch.arange(-20.0, 21)
    records, asked = look(module, 24, 2)
    curve = bias_curve(records[0], asked[0].positions)
    assert curve is not None
    torch.testing.assert_close(curve.logits, table[:, 128 - 23 : 128 + 24].detach())
    dense = replace(records[0], bias=ByDistance(table[None, :, None, 128 - 23 : 128 + 24].expand(2, -1, 24, -1)))
    averaged = bias_curve(dense, asked[0].positions)
    assert averaged is not None
    torch.testing.assert_close(averaged.logits, curve.logits)
    said = describe(curve, 20)
    assert "spans up to 40.00 logits" in said
    assert "highest at distance +20" in said
    assert "constant, after a step of 20.00" in said
    assert "goes on changing, by up to 2.00" in describe(Curve(curve.distances, curve.distances.repeat(2, 1)), 20)
    flat = curve.distances.clamp(-20, 20).repeat(2, 1)
    assert "stays what it is at their edge" in describe(Curve(curve.distances, flat), 20)


def test_mass_on_the_answer_where_the_task_says_where_it_stands(composed: Callable[..., DictConfig]) -> None:
    run = fresh(composed, "encoding=none", "model.readout=last", *SHORT)
    analysis = analyse(run, batch=BATCH, steps=1)
    assert "does not say at which token" in words.render(analysis)
    setattr(run.module.task, "sources", lambda tokens: torch.full_like(tokens, 7))  # noqa: B010
    analysis = analyse(run, batch=BATCH, steps=1)
    assert "puts" in words.render(analysis)
    assert analysis.row("target_mass", "head 1")[1] == pytest.approx(
        float(analysis.weights[0][1, :, 7].mean()), rel=1e-4
    )


@pytest.mark.slow
def test_layers_count_from_one_and_heads_from_zero_in_the_table_and_in_figures(
    composed: Callable[..., DictConfig],
) -> None:
    """As in TensorBoard; layer 0 is the input, which has streams and vectors and no attention."""
    for encoding, arms in (
        ("learned_relative", {"bias": ALL_HEADS}),
        ("rope", {"rotary_usage": ALL_HEADS, "rotary_rate": {"layer 1", "layer 2"}}),
        ("sinusoidal", {"position_cosine": {"layer 0"}}),
        ("lape", {"position_cosine": {"layer 1", "layer 2"}}),
    ):
        analysis = analyse(fresh(composed, f"encoding={encoding}", *SHORT), batch=BATCH, steps=1)
        rows = [*analysis.found.rows()]
        for quantity, expected in arms.items():
            assert {arm for name, arm, *_ in rows if name == quantity} == expected
        assert {at for name, _, at, *_ in rows if name == "token_cosine"} == {0, 1, 2}
        assert {at for name, _, at, *_ in rows if name == "rollout_first_token"} == {1, 2}
        for quantity in ("attention_entropy", "sink_rate", "head_similarity", "layer_similarity"):
            assert {at for name, _, at, *_ in rows if name == quantity} == {1, 2}
        drawn = figures.draw(analysis)
        titles = [axis.get_title(loc="left") for axis in drawn["attention"].axes][:4]
        assert titles == ["layer 1 head 0", "layer 1 head 1", "layer 2 head 0", "layer 2 head 1"]
        assert _ticks(drawn["heads"].axes[0].yaxis) == _ticks(drawn["similarity"].axes[0].xaxis) == ["1", "2"]
        assert _ticks(drawn["heads"].axes[0].xaxis) == ["0", "1"]
        said = [axis.get_title(loc="left") for axis in drawn["similarity"].axes]
        assert [*filter(re.compile("heads of").match, said)] == ["heads of layer 1", "heads of layer 2"]


def _ticks(axis: Axis) -> list[str]:
    """What stands at the rows or columns of a map."""
    low, high = sorted(axis.get_view_interval())
    places = [place for place in axis.get_majorticklocs() if low <= place <= high]
    return axis.get_major_formatter().format_ticks(places)


def test_sentences_follow_the_numbers(composed: Callable[..., DictConfig]) -> None:
    """A position as loud as nothing else is read throughout; without any it is read nowhere."""
    loud = words.render(analyse(fresh(composed, "encoding=sinusoidal", "encoding.rms=20", *SHORT), batch=24, steps=1))
    assert "A linear probe reads the place of a token throughout" in loud
    none = words.render(analyse(fresh(composed, "encoding=none", *SHORT), batch=24, steps=1))
    assert "A linear probe reads the place of a token nowhere" in none
    assert "Heads that look near: none" in none
    near = fresh(composed, "encoding=learned_relative", *SHORT)
    with torch.no_grad():
        table_of(near.module).copy_(-4 * torch.arange(-128, 129).abs())
    said = words.render(analyse(near, batch=4, steps=1))
    assert "Heads that look near: layer 1: heads 0 and 1; layer 2: heads 0 and 1" in said
    even = words.render(analyse(fresh(composed, "encoding=none", "model.logit_gain=0.01", *SHORT), batch=4, steps=1))
    assert "nearly uniform: layer 1: heads 0 and 1; layer 2: heads 0 and 1" in even
