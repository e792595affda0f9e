"""Attention by torch's FlexAttention: one kernel on CUDA GPUs for every `Bias` and `Mask`, without N×N tensors.

    score_mod(s, b, h, m, n) = s + bias at (b, h, m, n),  read from the table or the logits of the bias
    mask_mod(b, h, m, n)     = whether query m may see key n; blocks without such a pair are left out

Dong et al. 2024 (https://arxiv.org/abs/2412.05496), https://docs.pytorch.org/docs/stable/nn.attention.flex_attention.html.
Scores are scaled before the bias is added, as everywhere in posenc. On a CPU, torch has no backward pass for
FlexAttention, and only tests use the forward pass. For a `ByQuery` bias its table of N × (2N − 1) is built. A bias with
`values` is not supported. If there is a sink, the output is multiplied by

    exp(l) / (exp(l) + exp(sink)) = σ(l − sink),  l the logarithm of Σ exp(score) over the keys that a query sees
"""

import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import flex_attention as of_torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from posenc.attention.bias import Bias, ByPairs, Dense
from posenc.attention.mask import Mask
from posenc.attention.softmax import PLAIN, Softmax
from posenc.checks import ConfigError
from posenc.positions.positions import Positions

ScoreMod = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


LOG_SUM: dict[str, Any] = (
    {"return_aux": of_torch.AuxRequest(lse=True)} if hasattr(of_torch, "AuxRequest") else {"return_lse": True}
)
"""The argument that makes FlexAttention return l too; torch below 2.9 has another name for it."""


def check_training(device: torch.device) -> None:
    """Raise ConfigError unless the device is a CUDA GPU."""
    if device.type != "cuda":
        raise ConfigError(
            f"model.attention=flex trains on CUDA GPUs only, but this run is on {device.type}, for which torch has no "
            "backward pass of it; set model.attention=auto."
        )


def attend(
    q: Tensor, k: Tensor, v: Tensor, bias: Bias | None, positions: Positions, mask: Mask, softmax: Softmax = PLAIN
) -> Tensor:
    """softmax(q kᵀ / √d + bias, over the keys that mask allows) v, for a bias without values."""
    sinks = softmax.sinks
    learned = any(x is not None and x.requires_grad for x in (q, k, v, sinks)) or (bias is not None and bias.learned)
    if torch.is_grad_enabled() and learned:
        check_training(q.device)
    blocks = None if mask.open else block_mask(mask, positions.length, q.device)
    blocks = blocks if positions.documents is None else of_documents(mask, positions)
    blocks = blocks if mask.own is None else of_own(mask, positions)
    added = None if bias is None else score_mod(bias, positions)
    added = added if softmax.cap is None else capped(added, softmax)
    given = {"score_mod": added, "block_mask": blocks, "scale": v.shape[-1] ** -0.5}
    given |= {} if sinks is None else LOG_SUM
    if q.device.type == "cuda":
        out = _compiled()(q, k, v, **given)
    else:
        # torch refuses inputs that need a gradient, even under no_grad.
        q, k, v = (x.detach() for x in (q, k, v))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="flex_attention called without torch.compile")
            out = flex_attention(q, k, v, **given)
    if sinks is None:
        assert isinstance(out, Tensor)
        return out
    out, beside = out
    total = beside if isinstance(beside, Tensor) else beside.lse
    assert isinstance(total, Tensor)
    return out * torch.sigmoid(total - sinks.to(total.dtype)[:, None])[..., None].to(out.dtype)


def score_mod(bias: Bias, positions: Positions) -> ScoreMod:
    """The function that adds the bias to a score. Axes of size 1 are read at index 0."""
    bias = Dense(bias.matrix(positions)) if isinstance(bias, ByPairs) else bias
    if isinstance(bias, Dense):
        logits, each, heads = bias.logits, bias.logits.shape[0] > 1, bias.logits.shape[1] > 1

        def dense(score: Tensor, b: Tensor, h: Tensor, m: Tensor, n: Tensor) -> Tensor:
            return score + logits[b if each else 0, h if heads else 0, m, n].to(score.dtype)

        return dense
    table, ids, zero = bias.table, positions.ids, positions.span - 1
    several, by_query, own_ids = table.shape[0] > 1, table.shape[2] > 1, ids.shape[0] > 1

    def by_distance(score: Tensor, b: Tensor, h: Tensor, m: Tensor, n: Tensor) -> Tensor:
        row = b if own_ids else 0
        distance = n - m if positions.consecutive else ids[row, n] - ids[row, m]
        return score + table[b if several else 0, h, m if by_query else 0, distance + zero].to(score.dtype)

    return by_distance


def capped(added: ScoreMod | None, softmax: Softmax) -> ScoreMod:
    """The function that adds the bias to a score and then applies the soft cap."""

    def cap(score: Tensor, b: Tensor, h: Tensor, m: Tensor, n: Tensor) -> Tensor:
        return softmax.capped(score if added is None else added(score, b, h, m, n))

    return cap


def _sees(mask: Mask, m: Tensor, n: Tensor) -> Tensor:
    allowed = n <= m if mask.causal else n == n
    return allowed if mask.window is None else allowed & ((n - m).abs() <= mask.window)


def of_documents(mask: Mask, positions: Positions) -> BlockMask:
    """`block_mask` for each sequence, without keys of other documents."""
    documents, N = positions.documents, positions.length
    assert documents is not None
    several = len(documents) > 1

    def sees(b: Tensor, h: Tensor, m: Tensor, n: Tensor) -> Tensor:
        row = b if several else 0
        return _sees(mask, m, n) & (documents[row, m] == documents[row, n])

    return create_block_mask(sees, len(documents) if several else None, None, N, N, device=str(documents.device))


def of_own(mask: Mask, positions: Positions) -> BlockMask:
    """`block_mask` for an own mask, together with everything else that hides keys."""
    seen, N = mask.seen(positions), positions.length
    assert seen is not None
    each, heads = (seen.shape[axis] > 1 for axis in (0, 1))

    def sees(b: Tensor, h: Tensor, m: Tensor, n: Tensor) -> Tensor:
        return seen[b if each else 0, h if heads else 0, m, n]

    B, H = (size if several else None for size, several in zip(seen.shape, (each, heads), strict=False))
    return create_block_mask(sees, B, H, N, N, device=str(seen.device))


@lru_cache(maxsize=64)
def block_mask(mask: Mask, length: int, device: torch.device) -> BlockMask:
    """Which blocks of 128 × 128 contain a pair that the mask allows. It depends only on the three arguments."""

    def sees(b: Tensor, h: Tensor, m: Tensor, n: Tensor) -> Tensor:
        return _sees(mask, m, n)

    return create_block_mask(sees, None, None, length, length, device=str(device))


@lru_cache(maxsize=1)
def _compiled() -> Callable[..., Any]:
    return torch.compile(flex_attention, dynamic=False)
