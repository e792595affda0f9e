"""The attention to the token that has the answer."""

from jaxtyping import Float, Int
from torch import Tensor


def target_mass(weights: Float[Tensor, "B H N N"], target: Int[Tensor, "B N"]) -> Float[Tensor, " H"]:
    """mean over sequences and queries i of A_{i, t(i)},  t(i) the key that query i must read; t(i) < 0: no question.

    1: the head reads only the right token; 1/N: chance. It is for tasks whose answer is at one place, and measures how
    "meaningful" an attention pattern is. Compare the best head of each layer across lengths.
    """
    asked = target >= 0
    index = target.clamp(min=0)[:, None, :, None].expand(-1, weights.shape[1], -1, 1)
    mass = weights.gather(-1, index)[..., 0] * asked[:, None]
    return mass.sum((0, -1)) / asked.sum()
