"""Chooses the kernel that computes attention. Only this file decides; its table `RULES` is read from the top.

Every kernel gives the result of `posenc.attention.definition.explicit`; they differ in time and memory. The lengths
below were measured; docs/performance.md says on which machine.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from posenc.attention.bias import Bias, ByDistance, ByPairs, ByQuery
from posenc.attention.definition import explicit
from posenc.attention.kernels import bfloat16, by_pairs, by_query, flex, fused, sdpa
from posenc.attention.mask import Mask
from posenc.attention.softmax import PLAIN, Softmax
from posenc.checks import ConfigError
from posenc.positions.positions import Positions

OPTIONS = ("auto", "explicit", "flex", "fused", "sdpa", "toeplitz")
"""The values of `model.attention`. If a kernel cannot compute a case, a later rule of the table applies."""

FIXED_FROM = 512
"""From this length on, `fused` is faster than `sdpa` for a table without gradient. Below it, reversing q costs as much
as the strided view saves."""

KEEP_UP_TO = 64
"""Up to this length, keeping the bfloat16 weights for the backward pass is faster than computing them again."""

BLOCKS_UP_TO = 512
"""Above this length a head does not fit into the caches, and torch's float32 kernel is as fast as bfloat16 blocks."""

PRODUCTS_UP_TO = 128
"""Up to this length, bfloat16 products are faster than a float32 kernel if there is a bias on the logits.

On two Zen 4 cores with torch 2.13, in batches of 64 × 128, the products take this share of the kernel's time: 0.6 with
a `Dense` bias, 1.0 with `ByQuery`, 1.3 with `values`. Therefore the limit with `values` is `KEEP_UP_TO`.
"""


class Case(NamedTuple):
    """All that the choice depends on.

    bias         none; table (one value a distance, for all queries and sequences); rows (a row of distances for each
                 query, or a table for each sequence); read (`ByQuery`); pairs (`ByPairs`); dense (`Dense`)
    values       whether the bias adds to the values; the kernel then needs the weights themselves
    learned      whether the bias needs a gradient
    consecutive  whether positions are 0 .. N − 1, so that distances are differences of places
    equal_width  whether q and k are as wide as v
    open_mask    whether every query sees every key
    length       N
    device       cpu, cuda, ...
    compiling    whether torch.compile is tracing; it cannot trace our own backward passes
    bfloat16     whether products may be rounded to bfloat16
    sinks        whether there is a sink beside the keys
    cap          whether there is a soft cap on the logits
    documents    whether there are documents or an own mask, so that some tokens do not see each other
    square       whether the queries are the keys
    """

    bias: str
    values: bool
    learned: bool
    consecutive: bool
    equal_width: bool
    open_mask: bool
    length: int
    device: str
    compiling: bool
    bfloat16: bool
    sinks: bool = False
    cap: bool = False
    documents: bool = False
    square: bool = True

    @property
    def plain(self) -> bool:
        """Whether there is no sink and no soft cap."""
        return not (self.sinks or self.cap)

    @property
    def blocks(self) -> bool:
        """Whether kernels that compute block by block may run. On a GPU, the device would wait at each block."""
        return self.device == "cpu" and not self.compiling and self.plain and not self.documents and self.square

    @property
    def fusible(self) -> bool:
        """Whether torch's fused kernel for the CPU accepts the bias as its mask."""
        return self.bias != "none" and not self.values and self.equal_width and self.blocks

    @property
    def one_table(self) -> bool:
        """Whether the bias has one value for each distance, the same for all queries and sequences."""
        return self.bias == "table" and self.consecutive


class Rule(NamedTuple):
    """`kernel` computes attention if model.attention is one of `asked` and `fits` holds."""

    kernel: str
    asked: tuple[str, ...]
    fits: Callable[[Case], bool]


RULES = (
    Rule(
        "bfloat16_blocks",
        OPTIONS,
        lambda c: (
            (c.bfloat16 and (c.bias == "none" or c.one_table) and c.open_mask and c.plain and c.square)
            and KEEP_UP_TO < c.length <= BLOCKS_UP_TO
        ),
    ),
    Rule(
        "bfloat16_products",
        OPTIONS,
        lambda c: c.bfloat16 and c.length <= (KEEP_UP_TO if c.bias == "none" or c.values else PRODUCTS_UP_TO),
    ),
    Rule("flex", ("flex",), lambda c: not c.values and c.square),
    Rule("by_query", ("auto", "fused"), lambda c: c.bias == "read" and c.consecutive and c.equal_width and c.blocks),
    Rule("by_pairs", ("auto", "fused"), lambda c: c.bias == "pairs" and c.blocks),
    Rule("fused", ("fused",), lambda c: c.fusible),
    Rule("fused", ("toeplitz",), lambda c: c.fusible and c.one_table),
    Rule("fused", ("auto",), lambda c: c.fusible and (c.learned or (c.one_table and c.length >= FIXED_FROM))),
    Rule("sdpa", ("auto", "fused", "sdpa", "toeplitz"), lambda c: not c.values and not c.cap),
    Rule("explicit", OPTIONS, lambda _: True),
)
"""The first rule that fits decides."""

KERNELS: dict[str, Callable[..., Tensor]] = {
    "bfloat16_blocks": bfloat16.attend,
    "bfloat16_products": bfloat16.products,
    "by_pairs": by_pairs.attend,
    "by_query": by_query.attend,
    "explicit": explicit,
    "flex": flex.attend,
    "fused": fused.attend,
    "sdpa": sdpa.attend,
}
"""The kernels by name: (q, k, v, bias, positions, mask) → (B, H, N, d). A kernel with sinks or a cap takes a `Softmax`
too."""

SINKS = ("auto", "explicit", "flex", "sdpa")
"""The values of `model.attention` that support sinks."""
CAP = ("auto", "explicit", "flex")
"""The values of `model.attention` that support a soft cap."""


def choose(case: Case, attention: str = "auto") -> str:
    """The name of the kernel for this case under `model.attention`."""
    return next(rule.kernel for rule in RULES if attention in rule.asked and rule.fits(case))


def case(
    q: Tensor, v: Tensor, bias: Bias | None, positions: Positions, mask: Mask, bfloat16: bool = False,
    softmax: Softmax = PLAIN,
) -> Case:  # fmt: skip
    """The Case of these inputs."""
    return Case(
        bias=_kind(bias),
        values=bias is not None and bias.has_values,
        learned=bias is not None and bias.learned,
        consecutive=positions.consecutive,
        equal_width=q.shape[-1] == v.shape[-1],
        open_mask=mask.open and positions.documents is None,
        length=positions.length,
        device=q.device.type,
        compiling=torch.compiler.is_compiling(),
        bfloat16=bfloat16,
        sinks=softmax.sinks is not None,
        cap=softmax.cap is not None,
        documents=positions.documents is not None or mask.own is not None,
        square=positions.keys is None,
    )


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Bias | None,
    positions: Positions,
    mask: Mask,
    *,
    attention: str = "auto",
    bfloat16: bool = False,
    softmax: Softmax = PLAIN,
) -> Tensor:
    """Attention, (B, H, N, d), computed by the kernel that the table names.

    attention  one of `OPTIONS`
    bfloat16   whether a bfloat16 kernel may be used if it is faster; its result is bfloat16, otherwise float32
    softmax    how logits become weights
    """
    mask.fit(q)
    kernel = choose(case(q, v, bias, positions, mask, bfloat16, softmax), attention)
    if bfloat16 and not kernel.startswith("bfloat16"):
        q, k, v = (x.to(torch.float32) for x in (q, k, v))
    more = () if softmax.plain else (softmax,)
    return KERNELS[kernel](q, k, v, bias, positions, mask, *more)


def check_softmax(attention: str, sinks: bool, cap: bool) -> None:
    """Raise ConfigError if this option does not support the sinks or the soft cap that are set."""
    for asked, what, known in ((sinks, "sinks=true", SINKS), (cap, "soft_cap", CAP)):
        if asked and attention not in known:
            raise ConfigError(
                f"model.attention={attention} does not support model.{what}; set model.attention to one of "
                f"{', '.join(known)}."
            )


def check_training(attention: str, device: torch.device) -> None:
    """Raise ConfigError if a model with this option cannot be trained on this device."""
    if attention == "flex":
        flex.check_training(device)


def _kind(bias: Any) -> str:
    if isinstance(bias, ByDistance):
        return "table" if bias.table.shape[0] == bias.table.shape[2] == 1 else "rows"
    if bias is None:
        return "none"
    return "read" if isinstance(bias, ByQuery) else "pairs" if isinstance(bias, ByPairs) else "dense"
