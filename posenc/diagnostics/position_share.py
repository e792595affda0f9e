"""Which shares of the residual's variance come from position, from the token and from the sequence."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def position_share(x: Float[Tensor, "B N D"], tokens: Int[Tensor, "B N"]) -> dict[str, float]:
    """Shares of the variance of h explained by position, token and sequence, and the rest (residual); they add up to 1.

        ω²_f = (SS_f − (K − 1)·MS_w) / (SS_tot + MS_w),    MS_w = (SS_tot − SS_f) / (BN − K)
        SS_tot = Σ_bi ‖h_bi − h̄‖²,    SS_f = Σ_k n_k ‖mean of group k − h̄‖²

    f is a grouping into K groups of n_k vectors: by place (K = N), by token id, or by sequence (K = B). This is ω² of
    Hays 1963, corrected for chance. Uncorrected, the share of position in random vectors would be (N − 1)/(BN), not 0.
    It assumes tokens drawn independently of position. Then the factors are orthogonal, and the rest of the variance is
    their interaction. Shares of layers with different norms can be compared. A small share can be below 0. NaN if all
    vectors are equal (no variance), or if every vector is its own group (no variance within groups).
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
    """ω² of centred vectors for one grouping."""
    _, index, counts = group.unique(return_inverse=True, return_counts=True)
    sums = flat.new_zeros(len(counts), flat.shape[1]).index_add(0, index, flat)
    free = len(flat) - len(counts)
    if not (total > 0 and free):
        return float("nan")
    between = float((sums.square().sum(1) / counts).sum())
    within = (total - between) / free
    return (between - (len(counts) - 1) * within) / (total + within)
