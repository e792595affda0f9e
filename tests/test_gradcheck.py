"""Each backward pass of posenc's own gives the gradient of differences, in float64, whatever shapes, strides and masks.

`torch.autograd.gradcheck` in its fast mode: one random direction of all inputs against one of all outputs. Blocks are
so small here that several occur.
"""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from unittest.mock import MagicMock

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import Function, gradcheck
from torch.nn import functional as F

from posenc.attention.bias import Bias, ByDistance, ByPairs, ByQuery, Dense
from posenc.attention.kernels import bfloat16, blocks, by_pairs, by_query, fused
from posenc.attention.mask import Mask
from posenc.encodings import cope, dape
from posenc.positions.positions import Positions
from tests.conftest import ROOT

LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "plain": lambda x: x,
    "transposed": lambda x: x.mT.contiguous().mT,
    "first axis inside": lambda x: x.movedim(0, -1).contiguous().movedim(-1, 0),
    "every second": lambda x: torch.stack((x, x.sin()), -1).flatten(-2)[..., ::2],
    "narrowed": lambda x: F.pad(x, (3, 1))[..., 3:-1],
    "first for all": lambda x: x[:1].expand_as(x),
    "one value a row": lambda x: x[..., :1].expand_as(x),
}
"""Tensors of the shape of x, in other strides."""
ASKED: dict[str, Callable[[Tensor], Tensor]] = {
    "plain": lambda x: x,
    "transposed": lambda x: x.mT,
    "moved": lambda x: x.movedim(0, -1),
    "every second": lambda x: x[..., ::2],
    "summed": lambda x: x.sum(0),
}
"""Operations on the output, which give its gradient other strides. The gradient of a sum is expanded."""
layouts = st.sampled_from(sorted(LAYOUTS))
Checked = tuple[Callable[..., Tensor], list[Tensor]]
"""A function, and the tensors whose gradients are checked."""


@dataclass(frozen=True)
class Case:
    """B sequences, H heads, N tokens, d wide; the layouts of q, k, v and a bias; what a bias is."""

    B: int
    H: int
    N: int
    d: int
    mask: Mask
    given: tuple[str, ...]
    asked: str
    kind: str
    shared: bool
    spare: int

    @property
    def positions(self) -> Positions:
        """Consecutive, of a span that may be longer."""
        return Positions(torch.arange(self.N)[None], span=self.N + self.spare, consecutive=True)

    @property
    def distances(self) -> Tensor:
        """All that the span has."""
        return self.positions.distances.long()

    def heads(self, *more: Tensor) -> list[Tensor]:
        """q, k and v, and what else is asked for gradients of."""
        return [*normal(3, self.B, self.H, self.N, self.d), *more]

    def laid(self, *given: Tensor) -> list[Tensor]:
        """Tensors in the layouts of the case."""
        return [LAYOUTS[layout](x) for layout, x in zip(self.given, given, strict=False)]


cases = st.builds(
    Case, B=st.integers(1, 2), H=st.integers(1, 3), N=st.integers(1, 6), d=st.integers(2, 3),
    given=st.tuples(*[layouts] * 4), mask=st.sampled_from([Mask(), Mask(True), Mask(False, 2), Mask(True, 1)]),
    asked=st.sampled_from(sorted(ASKED)), kind=st.sampled_from(["table", "tables", "rows", "read", "dense"]),
    shared=st.booleans(), spare=st.integers(0, 2),
)  # fmt: skip


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def of_queries(case: Case) -> Checked:
    """by_query, with values and without, with vectors that far distances share and without."""
    heads, reach = 1 if case.shared else case.H, None if case.kind == "table" else 1
    distinct = len(case.distances) if reach is None else 2 * reach + 1
    column = case.distances.clamp(-(distinct // 2), distinct // 2) + distinct // 2
    read = normal(1 if case.kind == "rows" else case.B, case.H, case.N, 2)
    leaves = case.heads(read, normal(heads, distinct, 2))
    leaves += [normal(heads, distinct, case.d)] if case.kind in ("table", "read") else []

    def attend(q: Tensor, k: Tensor, v: Tensor, read: Tensor, r: Tensor, s: Tensor | None = None) -> Tensor:
        q, k, v, read = case.laid(q, k, v, read)
        bias = ByQuery(read, r[:, column], None if s is None else s[:, column], reach=reach)
        return by_query.attend(q, k, v, bias, case.positions, case.mask)

    return attend, leaves


def of_stored(case: Case) -> Checked:
    """fused, in all three layouts; rows that are shared are fixed, for which torch's own backward pass may do."""
    heads, rows = 1 if case.shared else case.H, case.N if case.kind == "rows" else 1
    table = normal(1 if case.kind == "table" else case.B, heads, rows, len(case.distances))
    stored = {"dense": normal(case.B, heads, case.N, case.N), "read": normal(case.B, case.H, case.N, 2)}
    vectors = normal(heads, len(case.distances), 2)

    def attend(q: Tensor, k: Tensor, v: Tensor, given: Tensor) -> Tensor:
        q, k, v, given = case.laid(q, k, v, given)
        bias: Bias = ByDistance(given)
        if case.kind in stored:
            bias = Dense(given) if case.kind == "dense" else ByQuery(given, vectors)
        return fused.attend(q, k, v, bias, case.positions, case.mask)

    given = stored.get(case.kind, table)
    fixed = case.kind == "rows" and case.shared
    return (partial(attend, given=given), case.heads()) if fixed else (attend, case.heads(given))


def of_pairs(case: Case) -> Checked:
    """by_pairs, for a bias of whose parameters one does not reach the first block."""

    def logits(parameters: tuple[Tensor, ...], m: slice, n: slice) -> Tensor:
        each, late = parameters
        return each[..., m, n] * late.prod() if m.stop > 2 else each[..., m, n]

    def attend(q: Tensor, k: Tensor, v: Tensor, each: Tensor, late: Tensor) -> Tensor:
        q, k, v, each = case.laid(q, k, v, each)
        bias = ByPairs(logits, (each, late), 1)
        return by_pairs.attend(q, k, v, bias, case.positions, case.mask)

    batch, heads = (case.B, case.H) if not case.shared else (1, 1)
    return attend, case.heads(normal(batch, heads, case.N, case.N), normal(2))


def of_bfloat16(case: Case) -> Checked:
    """What the kernel computes between the roundings at its ends: float64 tensors go through the same backward pass.

    The table's own gradient is always rounded to bfloat16, so the table is fixed here, and checked by itself below.
    """
    table = normal(case.H, 2 * case.N - 1) if case.kind == "table" else None

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = bfloat16.BlockedAttention.apply(*(x.transpose(0, 1).contiguous() for x in case.laid(q, k, v)), table)
        assert isinstance(out, Tensor)
        return out

    return attend, case.heads()


def of_dape(case: Case) -> Checked:
    """DAPE's network over pairs, those of one sequence for all or of each."""
    H, P = case.H, case.N * case.d
    leaves = [normal(case.B, H, P), normal(1 if case.shared else case.B, H, P)]

    def apply(S: Tensor, static: Tensor, *weights: Tensor) -> Tensor:
        out = dape.Adapted.apply(*case.laid(S, static), *weights)
        assert isinstance(out, Tensor)
        return out

    return apply, [*leaves, normal(4, 2 * H), normal(4, 1), normal(H, 4), normal(H, 1)]


def of_cope(case: Case) -> Checked:
    """CoPE's counts, which pass the end of the table; of as many queries as keys, or fewer."""
    queries = max(1, case.N - case.spare)
    leaves = [normal(case.B * case.H, each, case.d) for each in (queries, case.N)]
    leaves += [normal(case.B * case.H, queries, each) for each in (2, 1)]

    def apply(q: Tensor, k: Tensor, at_whole: Tensor, to_next: Tensor) -> Tensor:
        q, k, at_whole, to_next = case.laid(q, k, at_whole, to_next)
        out = cope.ContextualBias.apply(q, k, at_whole, F.pad(to_next, (0, 1)))  # none follows the last
        assert isinstance(out, Tensor)
        return out

    return apply, leaves


FUNCTIONS: dict[type[Function], Callable[[Case], Checked]] = {
    by_query.QueryAttention: of_queries,
    fused.FusedAttention: of_stored,
    by_pairs.PairAttention: of_pairs,
    bfloat16.BlockedAttention: of_bfloat16,
    dape.Adapted: of_dape,
    cope.ContextualBias: of_cope,
}


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, size in (
        (by_query, "BLOCK", 40), (by_query, "ROWS", 3), (by_query, "LEAST", 2), (fused, "BLOCK", 40),
        (bfloat16, "BLOCK", 40), (dape, "BLOCK", 24), (cope, "BLOCK", 24), (cope, "ROWS", 2),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, size)
    monkeypatch.setattr("posenc.attention.bias.BLOCK", 24)


def test_every_function_is_checked() -> None:
    """A new one fails here until it is in FUNCTIONS."""
    found = [
        f"{'.'.join(path.relative_to(ROOT).with_suffix('').parts)}.{node.name}"
        for path in (ROOT / "posenc").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).split(".")[-1] == "Function" for base in node.bases)
    ]
    assert sorted(found) == sorted(f"{each.__module__}.{each.__qualname__}" for each in FUNCTIONS)


@pytest.mark.slow
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
@given(case=cases)
@example(Case(2, 2, 4, 3, Mask(), ("plain",) * 4, "transposed", "rows", True, 0))  # torch's kernel, its bias fixed
@settings(max_examples=40, deadline=None)
def test_gradients_are_those_of_differences(function: type[Function], case: Case) -> None:
    torch.manual_seed(0)
    checked, leaves = FUNCTIONS[function](case)
    given = [leaf.requires_grad_() for leaf in leaves]
    assert gradcheck(lambda *given: ASKED[case.asked](checked(*given)), given, fast_mode=True)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_a_check_goes_through_the_function_in_several_blocks(
    function: type[Function], monkeypatch: pytest.MonkeyPatch
) -> None:
    cut, backward, most = blocks.cut, MagicMock(side_effect=function.backward), 0

    def counted(total: int, size: int) -> Iterator[slice]:
        nonlocal most
        most = max(most, -(-total // size))
        return cut(total, size)

    monkeypatch.setattr(blocks, "cut", counted)
    monkeypatch.setattr(function, "backward", backward)
    checked, leaves = FUNCTIONS[function](Case(2, 3, 6, 3, Mask(True), ("plain",) * 4, "plain", "table", False, 0))
    checked(*(leaf.requires_grad_() for leaf in leaves)).sum().backward()
    backward.assert_called_once()
    assert most > 1


def test_the_table_of_bfloat16_has_the_gradient_of_differences_but_for_its_rounding() -> None:
    q, k, v, table = normal(3, 2, 6, 2), normal(3, 2, 6, 2), normal(3, 2, 6, 2), normal(3, 11)
    given = [x.requires_grad_() for x in (q, k, v, table)]
    assert gradcheck(bfloat16.BlockedAttention.apply, given, rtol=2**-8)
