"""Whole numbers of any size as rows of bits: exact, a batch at a time. Loops run over limbs or bits, never over rows.

Bits are (B, W) of 0 and 1, least significant first ("little-endian") unless a function says otherwise.
"""

import numpy as np
import torch
from torch import Generator, Tensor

LIMB = 24  # bits: products of two limbs, and sums of 2¹⁵ of them, fit into 63 bits
ROOT_LIMB = 56  # bits: four times a limb, and one more bit, fit into 63 bits


def draw_positive(generator: Generator, lengths: Tensor, width: int) -> Tensor:
    """Uniform on [1, 2^L − 1] for each L of `lengths` (any shape): bits along a new last axis of `width`.

    The highest bit that is set stands at L − 1 − g with P(g) ∝ 2^−g; those below it are fair coins.
    """
    bits = torch.randint(2, (*lengths.shape, width), generator=generator)
    uniform = torch.rand(lengths.shape, generator=generator, dtype=torch.float64)
    skipped = (-torch.log2(1 - uniform * (1 - torch.exp2(-lengths.double())))).floor().long()
    highest = (lengths - 1 - skipped).clamp(min=0)[..., None]
    places = torch.arange(width)
    return bits.mul_(places < highest).scatter_(-1, highest, 1)


def _limbs(bits: Tensor) -> np.ndarray:
    """(K, B) whole numbers below 2^LIMB, least significant first."""
    B, W = bits.shape
    K = -(-W // LIMB)
    padded = np.zeros((B, K * LIMB), dtype=np.int64)
    padded[:, :W] = bits.numpy()
    return (padded.reshape(B, K, LIMB) << np.arange(LIMB)).sum(-1).T


def _carry(limbs: np.ndarray, width: int) -> np.ndarray:
    """Bring all limbs but the last into [0, 2^width), in place."""
    for i in range(len(limbs) - 1):
        limbs[i + 1] += limbs[i] >> width
        limbs[i] &= (1 << width) - 1
    return limbs


def _bits(limbs: np.ndarray, width: int) -> Tensor:
    """The lowest `width` bits."""
    bits = (_carry(limbs, LIMB).T[..., None] >> np.arange(LIMB)) & 1
    bits = bits.reshape(limbs.shape[1], -1)[:, :width]
    return torch.from_numpy(np.pad(bits, ((0, 0), (0, width - bits.shape[1]))))


def add(a: Tensor, b: Tensor) -> Tensor:
    """a + b, one bit wider."""
    x, y = _limbs(a), _limbs(b)
    return _bits(np.concatenate((x + y, np.zeros_like(x[:1]))), a.shape[1] + 1)


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """a · b, as wide as both."""
    x, y = _limbs(a), _limbs(b)
    product = np.zeros((len(x) + len(y), x.shape[1]), dtype=np.int64)
    for i, limb in enumerate(x):
        product[i : i + len(y)] += limb * y
    return _bits(product, a.shape[1] + b.shape[1])


def square_root(bits: Tensor) -> Tensor:
    """⌊√x⌋, digit by digit; the most significant bit comes first, in x and in the answer of ⌈W/2⌉ bits."""
    B, W = bits.shape
    x = np.pad(bits.numpy(), ((0, 0), (W % 2, 0))).T
    pairs = 2 * x[0::2] + x[1::2]
    K = (len(pairs) + 4) // ROOT_LIMB + 1
    rest, root = np.zeros((2, K, B), dtype=np.int64)
    digits = np.empty_like(pairs)
    for pair, digit in zip(pairs, digits, strict=True):
        # x so far is root² + rest; with two more bits of x the root doubles, and gains 1 if (2·root + 1)² still fits.
        rest *= 4
        rest[0] += pair
        trial = 4 * root
        trial[0] += 1
        smaller = _carry(rest - trial, ROOT_LIMB)
        digit[:] = smaller[-1] >= 0
        rest = np.where(digit, smaller, _carry(rest, ROOT_LIMB))
        root *= 2
        root[0] += digit
        _carry(root, ROOT_LIMB)
    return torch.from_numpy(digits.T.copy())


def width(bits: Tensor) -> Tensor:
    """(B,): how many bits each number needs."""
    places = torch.arange(1, bits.shape[1] + 1)
    return (bits * places).amax(1)
