"""A boolean mask of the user's own, in every attention implementation and with what a bias adds to the values."""

import pytest
import torch
from torch import Tensor

from posenc.attention.bias import Bias, ByDistance, ByQuery, Dense
from posenc.attention.mask import Mask
from posenc.attention.softmax import Softmax
from posenc.checks import ConfigError
from posenc.positions.positions import Positions
from tests.kernels import IMPLEMENTATIONS

B, H, N, D = 2, 3, 7, 4


def leaf(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


BIASES: dict[str, Bias | None] = {
    "none": None,
    "table": ByDistance(leaf(1, H, 1, 2 * N - 1)),
    "read": ByQuery(leaf(B, H, N, D), leaf(H, 2 * N - 1, D)),
    "values": ByQuery(leaf(B, H, N, D), leaf(H, 2 * N - 1, D), leaf(H, 2 * N - 1, D)),
    "dense": Dense(leaf(B, 1, N, N)),
}
SHAPES = [(1, 1), (B, 1), (1, H), (B, H)]


def by_hand(q: Tensor, k: Tensor, v: Tensor, bias: Bias | None, seen: Tensor) -> Tensor:
    """Softmax over what is seen, query by query."""
    at, out = Positions.arange(N), torch.zeros(B, H, N, D, dtype=torch.float64)
    added = torch.zeros(B, H, N, N) if bias is None else bias.matrix(at).expand(B, H, N, N)
    seen = seen.expand(B, H, N, N)
    for b, h, m in torch.cartesian_prod(*(torch.arange(size) for size in (B, H, N))).tolist():
        keys = seen[b, h, m].nonzero()[:, 0]
        weights = (k[b, h, keys] @ q[b, h, m] / D**0.5 + added[b, h, m, keys]).softmax(-1)
        moved = bias.values[h, keys - m + N - 1] if isinstance(bias, ByQuery) and bias.values is not None else 0
        out[b, h, m] = weights @ (v[b, h, keys] + moved)
    return out


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", BIASES)
def test_every_implementation_hides_what_it_hides(kind: str, shape: tuple[int, int]) -> None:
    q, k, v = leaf(B, H, N, D), leaf(B, H, N, D), leaf(B, H, N, D)
    own = (torch.rand(*shape, N, N) < 0.6) | torch.eye(N, dtype=torch.bool)
    for mask in (Mask(own=own), Mask(causal=True, own=own)):
        expected = by_hand(q, k, v, BIASES[kind], own.tril() if mask.causal else own)
        for name, attend in IMPLEMENTATIONS.items():
            if name == "flex" and (
                shape != (B, H) or kind not in ("table", "dense")
            ):  # it takes longer than all others
                continue
            with torch.set_grad_enabled(name != "flex"):
                found = attend(q, k, v, BIASES[kind], Positions.arange(N), mask)
            torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("attention", [name for name in IMPLEMENTATIONS if name != "flex"])
def test_hidden_tokens_get_no_gradient_and_those_that_see_nothing_are_numbers(attention: str) -> None:
    q, k, v = leaf(B, H, N, D), leaf(B, H, N, D), leaf(B, H, N, D)
    own = torch.ones(1, 1, N, N, dtype=torch.bool)
    own[..., :2] = False  # the first two keys, and the whole row of the first query
    own[..., 0, :] = False
    out = IMPLEMENTATIONS[attention](q, k, v, BIASES["table"], Positions.arange(N), Mask(own=own))
    assert out.isfinite().all()
    for grad in torch.autograd.grad(out[..., 2:, :].square().sum(), (k, v)):
        assert not grad[..., :2, :].any()
        assert grad[..., 2:, :].all()


def test_it_is_counted_and_goes_with_sinks_and_with_queries_that_are_the_last() -> None:
    own = torch.rand(B, 1, N, N) < 0.5
    own[..., 0] = True
    mask, at = Mask(True, own=own), Positions.arange(N)
    assert torch.equal(mask.keys_seen(at), own.tril().sum(-1))
    q, k, v = leaf(B, H, N, D), leaf(B, H, N, D), leaf(B, H, N, D)
    for softmax in (Softmax(), Softmax(sinks=torch.randn(H, dtype=torch.float64))):
        whole = IMPLEMENTATIONS["explicit"](q, k, v, None, at, mask, softmax=softmax)
        for name in ("explicit", "sdpa", "auto"):
            last = Mask(True, own=own[:, :, -2:])
            found = IMPLEMENTATIONS[name](q[:, :, -2:], k, v, None, at.last(2), last, softmax=softmax)
            torch.testing.assert_close(found, whole[:, :, -2:], atol=1e-12, rtol=1e-12)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"booleans of shape \(batch, heads, queries, keys\), got \(7, 7\), torch.bool"
    ):
        Mask(own=torch.ones(N, N, dtype=torch.bool))
    with pytest.raises(ConfigError, match=r"got \(1, 1, 7, 7\), torch.float32"):
        Mask(own=torch.ones(1, 1, N, N))
    with pytest.raises(ConfigError, match="own has 7 queries and 7 keys, but there are 6 and 6"):
        Mask(own=torch.ones(1, 1, N, N, dtype=torch.bool)).seen(Positions.arange(6))
    q = leaf(B, H, N, D)
    for shape in ((B + 1, 1), (1, H + 1)):
        own = Mask(own=torch.ones(*shape, N, N, dtype=torch.bool))
        message = rf"own of shape \({shape[0]}, {shape[1]}, 7, 7\) does not fit {B} sequences and {H} heads"
        for name in ("explicit", "auto"):
            with pytest.raises(ConfigError, match=message):
                IMPLEMENTATIONS[name](q, q, q, None, Positions.arange(N), own)
