"""Studies at the start: what they must show, and their numbers."""

import inspect
import itertools
import json
from collections.abc import Callable, Iterator
from functools import cache
from pydoc import locate
from typing import Any, cast

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from omegaconf import DictConfig, OmegaConf

from posenc.config.make import make
from posenc.diagnostics import capture, position_share
from posenc.encodings.base import PositionalEncoding
from posenc.encodings.learned_absolute import LearnedAbsolutePositionalEncoding
from posenc.encodings.sinusoidal import SinusoidalPositionalEncoding
from posenc.figures.style import look
from posenc.statistics.claims import OUTCOMES
from posenc.statistics.measurements import Measurements
from posenc.studies.gradient_flow import GradientFlow
from posenc.studies.method.base import Arm, Study
from posenc.studies.method.workers import Workers
from posenc.studies.quadratic_cost import QuadraticCost, count_bytes, count_flops
from posenc.studies.rank_collapse import RankCollapse

Compose = Callable[..., DictConfig]
STUDIES = ("rank_collapse", "quadratic_cost", "gradient_flow")
FEW = {
    "rank_collapse": ("study.seeds=3", "study.gains=[0.25,8]", "study.skips=[0.5,4]", "study.phase_seeds=1"),
    "quadratic_cost": ("study.lengths=[32,2048]", "study.timed=32", "study.rounds=2"),
    "gradient_flow": (
        "study.seeds=2", "study.depths=[8,32]", "study.initialisations=[xavier,small,scaled]",
        "study.trainability.depths=[1,12]", "study.trainability.seeds=1", "study.trainability.rates=[3e-3]",
        "study.trainability.recipe.steps=2", "study.trainability.recipe.eval_size=64",
    ),
}  # fmt: skip
COUNTED = ("explicit", "fused", "note_size")
"""Arms whose bytes are counted here; counting those of `shaw` takes longer than all other tests."""


def study(composed: Compose, name: str, *overrides: str) -> Any:
    return make(composed(f"experiment={name}", "name=test", *overrides), "study", Study)


@pytest.fixture(scope="module")
def found(composed: Compose) -> Callable[..., tuple[Any, Measurements]]:
    """Each study with its numbers on few seeds, measured once for these arms, by default all."""

    @cache
    def measured(name: str, *arms: str) -> tuple[Any, Measurements]:
        torch.set_num_threads(1)
        each = study(composed, name, *FEW[name])
        each.workers = Workers(1)
        every, each.arms = each.arms, {arm: each.arms[arm] for arm in arms or each.arms}
        numbers = each.measure(0)
        each.arms = every
        return each, numbers

    return measured


def nodes(node: Any) -> Iterator[dict]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield node
        for value in node.values():
            yield from nodes(value)
    elif isinstance(node, list):
        for value in node:
            yield from nodes(value)


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["smoke", "quick", "full"])
@pytest.mark.parametrize("name", [*STUDIES, "position_fading", "locality", "length_extrapolation"])
def test_yaml_mirrors_the_constructors(composed: Compose, name: str, profile: str) -> None:
    config = composed(f"experiment={name}", f"profile={profile}", "name=test")
    plain = OmegaConf.to_container(config.study, resolve=True)
    for node in nodes(plain):
        parameters = inspect.signature(cast(Any, locate(node["_target_"]))).parameters
        given = set(node) - {"_target_"}
        assert given <= set(parameters), node
        assert {key for key, p in parameters.items() if p.default is p.empty} <= given, node
    assert isinstance(make(config, "study", Study), Study)


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_every_claim_can_be_judged_and_drawn(found: Any, name: str) -> None:
    each, numbers = found(name)
    judged = [claim.verdict(numbers) for claim in each.claims]
    assert all(verdict.outcome in OUTCOMES for verdict in judged)
    assert len({verdict.statement for verdict in judged}) == len(judged) >= 5
    each.figure(numbers, judged).canvas.draw()
    json.dumps(each.summary(numbers))
    table, *_ = each.tables(numbers)
    assert table.row_count == len(numbers.arms("stream") if name == "gradient_flow" else each.arms)


def as_measured(each: QuadraticCost) -> Measurements:
    """Numbers near those of docs/studies/quadratic_cost.md, from the formulas of the study."""
    numbers = Measurements()
    square = {"explicit": 1.0, "note_size": 1.0, "window_of_16": 0.25}
    slow = {"explicit": 5.0, "window_of_16": 3.0, "shaw": 1.9, "alibi": 1.1, "t5": 1.08, "rope": 1.02}

    def slope(cost: Callable[[float], float], length: int) -> float:
        return float(np.log(cost(length * 9 / 8) / cost(length * 7 / 8)) / np.log(9 / 7))

    for arm, length in itertools.product(each.arms, each.lengths):

        def flops(n: float, arm: str = arm) -> float:
            return each.formula(arm, n)  # pyright: ignore[reportArgumentType]

        def kept(n: float, arm: str = arm) -> float:
            return 4 * n * (2 * (16 * 64 + 4 * n * square.get(arm, 0.0)) + 64)

        values = {
            "flops": flops(length), "flops_ratio": 1.0, "flops_slope": slope(flops, length), "bytes": kept(length),
            "flops_slope_formula": slope(flops, length), "bytes_slope": slope(kept, length),
            "ms": 1e-7 * flops(length) * slow.get(arm, 1.0),
        }  # fmt: skip
        for quantity, value in values.items():
            numbers.add(quantity, arm, length, 0, value)
    return numbers


def test_no_name_lies_over_another_where_curves_end_together(composed: Compose) -> None:
    """Four of the seven curves of quadratic_cost end so close that their names would overlap."""
    each = study(composed, "quadratic_cost", "profile=quick")
    with look():
        figure = each.figure(as_measured(each), [])
        FigureCanvasAgg(figure).draw()
        for axis in figure.axes:
            boxes = [Text.get_window_extent(text) for text in axis.texts]
            names = [text.get_text() for text in axis.texts]
            assert len(boxes) >= 3
            for (one, box), (other, below) in itertools.combinations(zip(names, boxes, strict=True), 2):
                assert not box.overlaps(below), (axis.get_title(), one, other)
            assert all(box.x1 <= figure.bbox.x1 and box.x0 >= 0 for box in boxes), axis.get_title()


def ratio(numbers: Measurements, arm: str, layer: int) -> float:
    return float(10 ** np.mean([*numbers.sample("log10_dong_ratio", arm, layer).values()]))


@pytest.mark.slow
def test_rank_collapse_shows_what_the_theory_says(found: Any) -> None:
    each, numbers = found("rank_collapse")
    assert isinstance(each, RankCollapse)
    assert ratio(numbers, "none", 3) < 1e-5
    assert ratio(numbers, "pre_norm_encoder", 16) > 0.3
    kinds = {arm: fit.kind.split()[0] for arm, fit in each.decays(numbers).items()}
    assert kinds == {
        "none": "double", "sinusoidal_at_input": "double", "learned_at_input": "double",
        "rope": "single", "alibi": "single", "causal": "single",
        "window_of_2": "none", "sinusoidal_at_every_layer": "none",
        "mlp": "double", "norm": "double", "skip": "single", "post_norm_encoder": "single", "pre_norm_encoder": "none",
    }  # fmt: skip
    orders = {arm: np.mean([*numbers.sample("order", arm, 0).values()]) for arm in each.arms}
    assert orders["norm"] == pytest.approx(3, abs=0.15)
    for arm in ("rope", "alibi", "causal"):
        assert orders[arm] == pytest.approx(1, abs=0.12)


@pytest.mark.slow
def test_rank_collapse_keeps_its_numbers(found: Any) -> None:
    """Regression: log10 of the ratio, means of three seeds; the digits given hold on any machine."""
    numbers = found("rank_collapse")[1]
    known = {
        ("none", 1): -0.20,
        ("none", 2): -1.45,
        ("alibi", 16): -5.5,
        ("causal", 8): -1.41,
        ("pre_norm_encoder", 16): -0.4,
    }
    for (arm, layer), value in known.items():
        assert np.log10(ratio(numbers, arm, layer)) == pytest.approx(value, abs=0.3), arm
    assert numbers.sample("attention_entropy", "none", 15)[0] == pytest.approx(1, abs=1e-6)
    cosine = [*numbers.sample("token_cosine", "none", 8).values()]
    assert cosine == pytest.approx([1, 1, 1], abs=1e-12)


def test_a_strong_skip_or_a_weak_one_decides_the_phase(found: Any) -> None:
    numbers = found("rank_collapse")[1]
    assert max(numbers.sample("phase_log10_dong_ratio", "gain 0.25", 0.5).values()) < -5
    assert min(numbers.sample("phase_log10_dong_ratio", "gain 0.25", 4).values()) > -0.3
    assert max(numbers.sample("phase_entropy", "gain 8", 4).values()) < 0.5


@pytest.mark.slow
def test_counted_operations_obey_the_formula(found: Any) -> None:
    each, numbers = found("quadratic_cost", *COUNTED)
    assert isinstance(each, QuadraticCost)
    for name, arm in each.arms.items():
        encoder = arm.build(0, **each.options).float()
        for length in (64, 512, 4096):  # which determine a formula of second degree
            assert count_flops(encoder, length) == pytest.approx(each.formula(name, length), rel=0.05), (name, length)
    assert each.crossover("explicit") == 6 * 64
    assert numbers.sample("flops_slope", "explicit", 2048)[0] > 1.8  # past four times the crossover
    assert numbers.sample("flops_slope", "note_size", 32)[0] == pytest.approx(1.04, abs=0.005)
    assert numbers.sample("bytes_slope", "fused", 2048)[0] == pytest.approx(1, abs=0.01)


@pytest.mark.slow
def test_bytes_obey_the_formula_where_attention_is_written_out(found: Any) -> None:
    """4 N·(L·(16 D + H N) + D) to within 5 %."""
    numbers = found("quadratic_cost", *COUNTED)[1]
    for length, sample in numbers.along("bytes", "explicit").items():
        assert sample[0] == pytest.approx(4 * length * (2 * (16 * 64 + 4 * length) + 64), rel=0.05), length


@pytest.mark.parametrize("attention", ["explicit", "sdpa"])
def test_bytes_counted_without_data_are_those_of_a_real_pass(attention: str) -> None:
    arm = Arm(PositionalEncoding(), {"attention": attention})
    encoder = arm.build(0, vocab_size=20, num_outputs=1).float()
    kept, own = {}, {p.untyped_storage().data_ptr() for p in encoder.parameters()}

    def pack(x: torch.Tensor) -> torch.Tensor:
        kept[x.untyped_storage().data_ptr()] = x
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        encoder(torch.zeros(1, 40, dtype=torch.long))
    real = sum(x.untyped_storage().nbytes() for place, x in kept.items() if place not in own)
    assert count_bytes(encoder, 40) == pytest.approx(real, rel=0.01)


@pytest.mark.slow
def test_gradient_flow_shows_what_the_theory_says(found: Any) -> None:
    each, numbers = found("gradient_flow")
    assert isinstance(each, GradientFlow)
    slope = {arm: np.mean([*numbers.sample("slope", arm, 0).values()]) for arm in numbers.arms("slope")}
    assert -0.6 < slope["pre_norm xavier"] < -0.2
    assert abs(slope["post_norm xavier"]) < 0.15
    assert abs(slope["pre_norm scaled"]) < 0.1  # the initialisation takes the dependence away
    rows = {arm: np.mean([*numbers.sample("query_to_value", arm, 24).values()]) for arm in numbers.arms("stream")}
    assert rows["no_skip xavier"] < -10 < -3 < rows["pre_norm xavier"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rank_collapse", "gradient_flow"])
def test_numbers_depend_on_the_seed_alone(composed: Compose, name: str) -> None:
    few = {
        "rank_collapse": ("study.seeds=1", "study.gains=[1]", "study.skips=[1]", "study.phase_seeds=1"),
        "gradient_flow": (
            "study.seeds=1",
            "study.depths=[1,2]",
            "study.profile_depth=3",
            "study.initialisations=[unit]",
            "study.trainability=null",
        ),
    }[name]
    each = study(composed, name, *few)
    each.workers = Workers(1)
    first, again, other = (each.measure(seed).csv() for seed in (4, 4, 5))
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("encoding", "shares"),
    [
        (SinusoidalPositionalEncoding(64, rms="raw"), {0: 0.99, 1: 0.99}),
        (LearnedAbsolutePositionalEncoding(64, 32, rms="raw"), {0: 0.51}),
    ],
)
def test_position_share_of_unmatched_scales(encoding: PositionalEncoding, shares: dict[int, float]) -> None:
    """On token embeddings of 0.02: a raw sinusoid is nearly all of the variance, a table of 0.02 half of it."""
    encoder = Arm(encoding).build(0, vocab_size=20, num_outputs=1, dim=64, num_heads=4, token_rms=0.02)
    tokens = torch.randint(20, (128, 32))
    with torch.no_grad(), capture(encoder) as seen:
        encoder(tokens)
    for layer, share in shares.items():
        assert position_share(seen.streams[layer], tokens)["position"] == pytest.approx(share, abs=0.04)
