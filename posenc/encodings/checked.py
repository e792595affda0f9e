"""Checks before each hook of an encoding, and how `rotate` is called if `positions.keys` is given."""

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from posenc.attention.bias import Bias
from posenc.attention.hooks import Hooks
from posenc.checks import ConfigError
from posenc.positions.apart import then
from posenc.positions.positions import Positions


def _embeds(hook: Callable[..., Tensor]) -> Callable[..., Tensor]:
    @wraps(hook)
    def embed(self: Hooks, x: Tensor, positions: Positions) -> Tensor:
        positions.fit(self, x)
        return hook(self, x, positions)

    return embed


def _turns(hook: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., tuple[Tensor, Tensor]]:
    @wraps(hook)
    def rotate(self: Hooks, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> tuple[Tensor, Tensor]:
        _fit_heads(self, q, k, positions)
        return hook(self, x, q, k, positions) if positions.keys is None else _apart(self, hook, x, q, k, positions)

    return rotate


def _apart(
    encoding: Hooks, hook: Callable[..., tuple[Tensor, Tensor]], x: Tensor, q: Tensor, k: Tensor,
    positions: Positions,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Rotate q and k as tokens of one sequence. The queries are its last tokens, among the keys or after them."""
    at, M, N = positions.at_keys, q.shape[-2], k.shape[-2]
    if not positions.among:
        at = then(at, replace(positions, keys=None, known=True))
    q, k = hook(encoding, x, F.pad(q, (0, 0, at.length - M, 0)), F.pad(k, (0, 0, 0, at.length - N)), at)
    return q[..., at.length - M :, :], k[..., :N, :]


def _adds(hook: Callable[..., Bias | None]) -> Callable[..., Bias | None]:
    @wraps(hook)
    def bias(self: Hooks, x: Tensor, q: Tensor, k: Tensor, positions: Positions) -> Bias | None:
        _fit_heads(self, q, k, positions)
        return hook(self, x, q, k, positions)

    return bias


def _fit_heads(encoding: Hooks, q: Tensor, k: Tensor, positions: Positions) -> None:
    positions.fit(encoding, q)
    if positions.keys is not None:
        positions.keys.fit(encoding, k)
        if not positions.among and (encoding.reads_input or "order" in encoding.depends_on):
            raise ConfigError(
                f"{type(encoding).__name__} reads tokens in order, but keys of another sequence have no place in it."
            )
    heads = getattr(encoding, "num_heads", q.shape[1])
    same = q.shape[:2] == k.shape[:2] and q.shape[3:] == k.shape[3:]
    if not same or q.shape[1] != heads or (positions.keys is None and q.shape[2] != k.shape[2]):
        raise ConfigError(
            f"{type(encoding).__name__}: queries {tuple(q.shape)} and keys {tuple(k.shape)} must have one shape, "
            f"(batch, heads, length, width), of {heads} heads; additional keys need positions, as in "
            f"Positions.arange({k.shape[2]}).last({min(q.shape[2], k.shape[2])})."
        )


CHECKED: dict[str, Callable[..., Any]] = {"embed": _embeds, "rotate": _turns, "bias": _adds}
"""The check of each hook, by the hook's name."""
