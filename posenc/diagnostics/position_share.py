"""How much of the residual stream is position, how much token, how much sequence."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def position_share(x: Float[Tensor, "B N D"], tokens: Int[Tensor, "B N"]) -> dict[str, float]:
    """Shares of the variance of h explained by position, by token, by sequence, and the residual; they add up to 1.

        ω²_f = (SS_f − (K − 1)·MS_w) / (SS_tot + MS_w),    MS_w = (SS_tot − SS_f) / (BN − K)
        SS_tot = Σ_bi ‖h_bi − h̄‖²,    SS_f = Σ_k n_k ‖mean of group k − h̄‖²

    with f the grouping in K groups of n_k vectors: by place (K = N), by token id, by sequence (K = B). ω² of Hays 1963,
    corrected for chance: without the correction a stream that knows nothing of position has a share of (N − 1)/(BN),
    not 0. Meant for tokens drawn independently of position: then the factors are orthogonal, and the residual is what
    they make together. A share, so streams of different size compare; small shares can come out below 0. nan where the
    vectors are all equal or every one is a group of its own: there is no variance, or none within the groups.
    """
    B, N, D = x.shape
    flat = x.reshape(B * N, D)
    flat = flat - flat.mean(0)
    total = float(flat.square().sum())
    places = torch.arange(N, device=x.device).expand(B, N)
    sequences = torch.arange(B, device=x.device)[:, None].expand(B, N)
    groups = {"position": places, "token": tokens, "sequence": sequences}
    shares = {name: _omega_squared(flat, group.reshape(-1), total) for name, group in groups.items()}
    return shares | {"residual": 1 - sum(shares.values())}


def _omega_squared(flat: Float[Tensor, "M D"], group: Int[Tensor, " M"], total: float) -> float:
    """ω² of centred vectors under one grouping."""
    _, index, counts = group.unique(return_inverse=True, return_counts=True)
    sums = flat.new_zeros(len(counts), flat.shape[1]).index_add(0, index, flat)
    free = len(flat) - len(counts)
    if not (total > 0 and free):
        return float("nan")
    between = float((sums.square().sum(1) / counts).sum())
    within = (total - between) / free
    return (between - (len(counts) - 1) * within) / (total + within)
