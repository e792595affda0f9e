"""Position probes: how well the place of a token can be predicted from its vector.

A probe is fitted on some sequences and scored on other sequences. It is never scored on other tokens of the same
sequences, because attention mixes common content into all tokens of a sequence. Haviv et al. 2022
(https://arxiv.org/abs/2203.16634) probe every layer of a causal model without encoding in this way. Even if a probe can
read position, the model need not use it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from posenc.streams import generator

RIDGE, SEED = 1e-4, 0
STEPS, HIDDEN, TOKENS, RATE = 300, 128, 256, 5e-3

Guess = Callable[[Float[Tensor, "B N D"]], Int[Tensor, "B N"]]
Fit = Callable[[Float[Tensor, "B N D"], Int[Tensor, "B N"]], Guess]


@dataclass(frozen=True)
class ProbeScore:
    """The scores of a probe on sequences that it was not fitted on.

    accuracy     share of tokens whose place is predicted correctly
    distance     mean |predicted place − place|, in tokens; `uniform_distance` for a uniform guess, and
                 about 3/4 of it if the middle is always guessed
    selectivity  accuracy − accuracy of the same probe, fitted and scored on places that are shuffled in each sequence
    """

    accuracy: float
    distance: float
    selectivity: float


def linear_probe(train: Float[Tensor, "B N D"], test: Float[Tensor, "b N D"]) -> ProbeScore:
    """argmax_p of ridge regression on one-hot places, in closed form and in float64:

        W = (XᵀX + ridge · tr(XᵀX)/D · I)⁻¹ XᵀY,    place = argmax_p [(x − x̄) W + ȳ]_p

    X (BN, D) and Y (BN, N) are centred; ridge is 1e-4. If position is one growing number, a linear map onto one-hot
    places cannot predict places in the middle; `mlp_probe` can.
    """
    return _score(train.double(), test.double(), _ridge)


def mlp_probe(train: Float[Tensor, "B N D"], test: Float[Tensor, "b N D"], steps: int = STEPS) -> ProbeScore:
    """argmax_p of W₂ GELU(W₁ x + b₁) + b₂ with 128 hidden units, trained with cross-entropy and Adam.

    The learning rate falls from 0.005 to 0 with a cosine. Each of `steps` steps uses 256 tokens from all sequences.
    """
    return _score(train.float(), test.float(), lambda x, places: _mlp(x, places, steps))


def _score(train: Tensor, test: Tensor, fit: Fit) -> ProbeScore:
    """Score the probe and its control: the same probe on places that are shuffled separately in each sequence.

    Hewitt & Liang 2019 (https://arxiv.org/abs/1909.03368) give each type of word a random label; a probe can only
    memorise these labels. Here one shuffle for all sequences would be no control, because it only renames the classes.
    With a separate shuffle for each sequence there is nothing to predict. So the control measures what this probe
    reaches by chance with this number of sequences, about 1/N.
    """
    N = train.shape[1]
    places = torch.arange(N, device=train.device)
    truth, asked = places.expand(len(train), N), places.expand(len(test), N)
    named = fit(train, truth)(test)
    stream = generator(SEED, "probes/shuffle")
    shuffled = [torch.rand(len(x), N, generator=stream).argsort(1).to(x.device) for x in (train, test)]
    control = (fit(train, shuffled[0])(test) == shuffled[1]).double().mean()
    accuracy = (named == asked).double().mean()
    return ProbeScore(float(accuracy), float((named - asked).abs().double().mean()), float(accuracy - control))


def _ridge(x: Float[Tensor, "B N D"], places: Int[Tensor, "B N"]) -> Guess:
    weight, mean = ridge_weights(x.flatten(0, 1), places.flatten(), x.shape[1], RIDGE)
    return lambda new: ((new - mean) @ weight).argmax(-1)  # ȳ is the same for all places: no effect on argmax


def ridge_weights(
    x: Float[Tensor, "M D"], places: Int[Tensor, " M"], classes: int, ridge: float
) -> tuple[Float[Tensor, "D N"], Float[Tensor, " D"]]:
    """W of `linear_probe`, and x̄. XᵀY is a sum by place, so no tensor (M, N) is built."""
    mean = x.mean(0)
    x = x - mean
    gram = x.T @ x
    penalty = (ridge * gram.diagonal().mean()).clamp(min=torch.finfo(x.dtype).tiny)
    moment = x.new_zeros(classes, x.shape[1]).index_add(0, places, x).T
    eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    return torch.linalg.solve(gram + penalty * eye, moment), mean


@torch.enable_grad()
def _mlp(x: Float[Tensor, "B N D"], places: Int[Tensor, "B N"], steps: int) -> Guess:
    (_, N, D), stream = x.shape, generator(SEED, "probes/mlp")
    x, places = x.detach().flatten(0, 1), places.flatten()
    shapes = ((D, HIDDEN), (HIDDEN,), (HIDDEN, N), (N,))
    W1, b1, W2, b2 = (
        (torch.randn(shape, generator=stream) * shape[0] ** -0.5 if len(shape) == 2 else torch.zeros(shape))
        .to(x.device)
        .requires_grad_()
        for shape in shapes
    )
    mean, scale = x.mean(0), x.std(0) + 1e-6

    def logits(new: Tensor) -> Tensor:
        return F.gelu((new - mean) / scale @ W1 + b1) @ W2 + b2

    optimizer = torch.optim.Adam((W1, b1, W2, b2), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        chosen = torch.randint(len(x), (TOKENS,), generator=stream).to(x.device)
        optimizer.zero_grad()
        F.cross_entropy(logits(x[chosen]), places[chosen]).backward()
        optimizer.step()
        schedule.step()
    return lambda new: logits(new).argmax(-1)
