"""Exact arithmetic with whole numbers of any size, as rows of bits. Loops run over limbs or bits, not over rows.

Bits have the shape (B, W) and any integer dtype; the least significant comes first, unless a function says otherwise.
"""

import numpy as np
import torch
from torch import Generator, Tensor

LIMB = 16  # bits, numpy's <u2; sums of 2³¹ products of two limbs fit into 63 bits
ROOT_LIMB = 56  # bits; four times a limb plus one more bit fits into 63 bits
HEAD = 26  # bits of a root that floating point gives exactly, because the square fits into 52 bits


def draw_positive(generator: Generator, lengths: Tensor, width: int) -> Tensor:
    """Bits (*lengths, width) of numbers that are uniform on [1, 2^L − 1] for each L of `lengths`.

    The highest bit that is set is L − 1 − g with P(g) ∝ 2^−g; the bits below it are uniform.
    """
    bits = torch.randint(2, (*lengths.shape, width), generator=generator, dtype=torch.uint8).numpy()
    uniform = torch.rand(lengths.shape, generator=generator, dtype=torch.float64).numpy()
    L = lengths.numpy()
    skipped = -np.log2(1 - uniform * (1 - np.exp2(-L)))
    highest = np.maximum(L - 1 - skipped.astype(np.int64), 0)[..., None]
    places = np.arange(width)
    return torch.from_numpy(bits & (places < highest) | (places == highest))


def _limbs(bits: Tensor) -> np.ndarray:
    """(K, B) whole numbers below 2^LIMB, least significant first."""
    octets = np.packbits(bits.numpy(), axis=1, bitorder="little")
    padded = np.zeros((len(octets), octets.shape[1] + octets.shape[1] % 2), dtype=np.uint8)
    padded[:, : octets.shape[1]] = octets
    return padded.view("<u2").T.astype(np.int64)


def _carry(limbs: np.ndarray, width: int) -> np.ndarray:
    """Bring all limbs but the last into [0, 2^width), in place."""
    for i in range(len(limbs) - 1):
        limbs[i + 1] += limbs[i] >> width
        limbs[i] &= (1 << width) - 1
    return limbs


def _bits(limbs: np.ndarray, width: int) -> Tensor:
    """The lowest `width` bits."""
    octets = _carry(limbs, LIMB).T.astype("<u2", order="C").view(np.uint8)
    return torch.from_numpy(np.unpackbits(octets, axis=1, bitorder="little", count=width))


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
    """⌊√x⌋ in ⌈W/2⌉ bits, most significant bit first as in x: the first bits in floating point, then bit by bit."""
    B, W = bits.shape
    x = np.zeros((W + W % 2, B), dtype=np.int64)
    x[W % 2 :] = bits.numpy().T
    pairs = 2 * x[::2] + x[1::2]
    head = np.arange(min(HEAD, len(pairs)))[::-1]
    K = (len(pairs) + 4) // ROOT_LIMB + 1
    rest, root = np.zeros((2, K, B), dtype=np.int64)
    leading = 4**head @ pairs[:HEAD]
    root[0] = np.sqrt(leading)
    rest[0] = leading - root[0] ** 2
    digits = np.empty_like(pairs)
    digits[:HEAD] = root[0] >> head[:, None] & 1
    for pair, digit in zip(pairs[HEAD:], digits[HEAD:], strict=True):
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
    """(B,): the number of bits that each positive number needs."""
    return torch.from_numpy(bits.shape[1] - bits.numpy()[:, ::-1].argmax(1))
