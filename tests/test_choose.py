"""The table of kernels: every case has one kernel, which can do it and agrees with the definition."""

from dataclasses import fields
from itertools import product

import pytest
import torch
from torch import Tensor

from posenc.attention.bias import Bias, ByDistance, ByPairs, ByQuery, Dense
from posenc.attention.definition import explicit
from posenc.attention.kernels import choose
from posenc.attention.kernels.choose import BLOCKS_UP_TO, FIXED_FROM, KEEP_UP_TO, KERNELS, OPTIONS, PRODUCTS_UP_TO, Case
from posenc.attention.mask import Mask
from posenc.positions.positions import Positions

KINDS = ("none", "table", "rows", "read", "read, values", "pairs", "dense")
MASKS = (Mask(), Mask(causal=True), Mask(window=3))
B, H, D = 2, 2, 4


def can(kernel: str, case: Case) -> bool:
    """Whether a kernel computes this case, as its docstring says."""
    plain = not case.values
    cpu = case.device == "cpu" and not case.compiling and not case.documents and case.square
    return {
        "explicit": True,
        "sdpa": plain,
        "flex": plain and case.square,
        "fused": plain and cpu and case.equal_width and case.bias != "none",
        "by_query": cpu and case.equal_width and case.bias == "read" and case.consecutive,
        "by_pairs": cpu and case.bias == "pairs",
        "bfloat16_blocks": case.bfloat16 and case.open_mask and (case.bias == "none" or case.one_table) and case.square,
        "bfloat16_products": case.bfloat16,
    }[kernel]


def test_every_case_has_a_kernel_that_can_do_it() -> None:
    lengths = (1, KEEP_UP_TO, KEEP_UP_TO + 1, PRODUCTS_UP_TO + 1, FIXED_FROM - 1, FIXED_FROM, BLOCKS_UP_TO + 1)
    flags = product((False, True), repeat=5)
    named = set[str]()
    for kind, (learned, consecutive, width, open_mask, bfloat16), length, device, compiling, (
        documents,
        square,
    ) in product(
        KINDS, [*flags], lengths, ("cpu", "cuda"), (False, True), ((False, True), (True, True), (False, False))
    ):
        if documents and (consecutive or open_mask):
            continue
        bias, _, values = kind.partition(", ")
        learned = learned and bias != "none"
        given = (learned, consecutive, width, open_mask, length, device, compiling, bfloat16)
        case = Case(bias, bool(values), *given, documents=documents, square=square)
        for option in OPTIONS:
            kernel = choose.choose(case, option)
            assert can(kernel, case), (kernel, option, case)
            assert bfloat16 or option not in {"explicit", "sdpa"} or kernel in {option, "explicit"}
            named.add(kernel)
    assert named == {*KERNELS}


def make(kind: str, N: int, learned: bool) -> tuple[Bias | None, list[Tensor]]:
    """A bias of a kind, and what a gradient is asked of; bfloat16 holds its numbers exactly."""

    def leaf(*shape: int) -> Tensor:
        return torch.randn(shape).bfloat16().float().requires_grad_(learned)

    M = 2 * N - 1
    if kind == "pairs":
        matrix = leaf(1, H, N, N)
        return ByPairs(lambda parameters, m, n: parameters[0][..., m, n], (matrix,), width=1), [matrix] * learned
    bias = {
        "none": lambda: None,
        "table": lambda: ByDistance(leaf(1, H, 1, M)),
        "rows": lambda: ByDistance(leaf(B, H, N, M)),
        "read": lambda: ByQuery(leaf(B, H, N, D), leaf(1, M, D)),
        "read, values": lambda: ByQuery(leaf(B, H, N, D), leaf(1, M, D), leaf(1, M, D)),
        "dense": lambda: Dense(leaf(B, 1, N, N)),
    }[kind]()
    parts = [] if bias is None else [getattr(bias, field.name) for field in fields(bias)]
    return bias, [part for part in parts if part is not None] * learned


def agree(kind: str, N: int, learned: bool, consecutive: bool, mask: Mask, flex: bool = False) -> None:
    """Hold each kernel that some option chooses, its output and its gradients, to the definition.

    flex  whether to ask for it, which takes longer than all others: neither length nor learning chooses it
    """
    bias, leaves = make(kind, N, learned)
    q, k, v = (torch.randn(B, H, N, D).bfloat16().float().requires_grad_() for _ in range(3))
    positions = Positions(torch.arange(N)[None], span=N, consecutive=consecutive)
    inputs, probe = [q, k, v, *leaves], torch.linspace(-1, 1, v.numel()).view_as(v)
    truth = explicit(q, k, v, bias, positions, mask)
    slopes = torch.autograd.grad((truth * probe).sum(), inputs)
    seen = set[str]()
    for option, bfloat16 in product(OPTIONS if flex else {*OPTIONS} - {"flex"}, (False, True)):
        kernel = choose.choose(choose.case(q, v, bias, positions, mask, bfloat16), option)
        if kernel in seen:
            continue
        seen.add(kernel)
        rounded = kernel.startswith("bfloat16")
        with torch.set_grad_enabled(kernel != "flex"):  # torch has no backward pass of it on a CPU
            out = choose.attend(q, k, v, bias, positions, mask, attention=option, bfloat16=bfloat16)
        assert (out - truth).norm() <= (0.01 if rounded else 1e-5) * truth.norm(), kernel
        if kernel == "flex":
            continue
        for one, other in zip(torch.autograd.grad((out.float() * probe).sum(), inputs), slopes, strict=True):
            assert (one - other).norm() <= (0.05 if rounded else 1e-4) * other.norm() + 1e-6, kernel


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("N", [8, 9, 17, 32])
def test_the_chosen_kernel_agrees_with_the_definition(kind: str, N: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every case of the table, whose lengths are lowered so that short sequences reach them all."""
    for name, length in {"KEEP_UP_TO": 8, "PRODUCTS_UP_TO": 16, "FIXED_FROM": 32, "BLOCKS_UP_TO": 32}.items():
        monkeypatch.setattr(choose, name, length)
    for learned, consecutive, mask in product((True, False), (True, False), MASKS):
        agree(kind, N, learned, consecutive, mask, flex=N == 9 and not learned)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("N", [KEEP_UP_TO + 1, PRODUCTS_UP_TO + 1, FIXED_FROM])
def test_the_chosen_kernel_agrees_at_the_lengths_of_the_table(kind: str, N: int) -> None:
    for learned, mask in product((True, False), MASKS[:2] if kind in ("none", "table") else MASKS[1:2]):
        agree(kind, N, learned, True, mask)


def test_lengths_of_the_table() -> None:
    def fixed(length: int) -> Case:
        return Case("table", False, False, True, True, True, length, "cpu", False, False)

    assert choose.choose(fixed(FIXED_FROM)) == "fused"
    assert choose.choose(fixed(FIXED_FROM - 1)) == "sdpa"
    assert choose.choose(fixed(FIXED_FROM)._replace(consecutive=False)) == "sdpa"
    assert choose.choose(fixed(4)._replace(learned=True)) == "fused"
    narrow = fixed(BLOCKS_UP_TO)._replace(bfloat16=True)
    assert choose.choose(narrow) == "bfloat16_blocks"
    assert choose.choose(narrow._replace(length=BLOCKS_UP_TO + 1)) == "fused"
    assert choose.choose(narrow._replace(open_mask=False)) == "fused"
    assert choose.choose(narrow._replace(length=PRODUCTS_UP_TO, open_mask=False)) == "bfloat16_products"
