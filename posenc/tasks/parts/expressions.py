"""Random arithmetic expressions with brackets. A whole batch is drawn at once, one level of the trees after another."""

import numpy as np
import torch
from torch import Generator, Tensor


def draw_expressions(
    generator: Generator, batch: int, length: int, modulus: int, operators: int
) -> tuple[Tensor, Tensor]:
    """`batch` expressions of `length` tokens, and their values modulo `modulus`.

    Tokens: digits 0 .. M − 1, then the first `operators` of + − *, then ( and ).

    Law of E(n), that of Delétang et al. 2023: E(1) = d, E(2) = −d, E(3) = (d), E(4) = (−d) with a uniform digit d, and
    for n ≥ 5 E(n) = (E(l) ∘ E(n − 3 − l)) with l uniform in 1 .. n − 4 and ∘ a uniform operator.

    Trees are split from the root down, all segments of one depth in one step, and evaluated from the leaves up. One
    uniform number is drawn for each position; it decides the digit, the operator or the split there.
    """
    M = modulus
    minus, opening, closing = M + 1, M + operators, M + operators + 1
    uniform = torch.rand(batch * length, generator=generator, dtype=torch.float64).numpy()

    size = np.zeros(batch * length, dtype=np.int64)  # size of the segment that starts at a position
    parts, sizes, splits = np.arange(0, batch * length, length), np.full(batch, length), []
    size[parts] = sizes
    while len(start := parts[sizes >= 5]):
        n = size[start]
        left = (uniform[start] * (n - 4)).astype(np.int64)  # the size of the left part, minus one
        middle = start + 2 + left
        parts = np.concatenate((start, middle)) + 1
        size[parts] = sizes = np.concatenate((left, n - 5 - left)) + 1
        splits.append((start, middle, parts))

    operator = (uniform * operators).astype(np.int64)
    tokens, values = M + operator, np.empty_like(size)  # value of the segment that starts at a position
    bracket, leaf = np.flatnonzero(size >= 3), np.flatnonzero((size > 0) & (size < 5))
    tokens[bracket], tokens[bracket + size[bracket] - 1] = opening, closing
    n = size[leaf]
    place, negative = leaf + n // 2, n % 2 == 0
    tokens[place[negative] - 1] = minus
    tokens[place] = digits = (uniform[place] * M).astype(np.int64)
    values[leaf] = np.where(negative, -digits, digits)
    sign, product = 1 - 2 * operator, operator == 2
    for start, middle, parts in reversed(splits):
        a, b = values[parts].reshape(2, -1)
        values[start] = np.where(product[middle], a * b, a + sign[middle] * b) % M
    return torch.from_numpy(tokens.reshape(batch, length)), torch.from_numpy(values[::length] % M)


def value_frequencies(length: int, modulus: int, operators: int) -> np.ndarray:
    """P(value = v) of the expressions of `draw_expressions`, exactly, by the recursion of their law."""
    M = modulus
    digit = np.arange(M)
    a, b = np.meshgrid(digit, digit, indexing="ij")
    outcome = np.stack((a + b, a - b, a * b)[:operators]) % M
    table = (outcome[..., None] == digit).mean(0)  # (M, M, M): P(value | a, b)
    law = np.full((length + 1, M), 1 / M)
    for n in range(5, length + 1):
        pairs = law[1 : n - 3].T @ law[1 : n - 3][::-1] / (n - 4)
        law[n] = np.einsum("ab,abv->v", pairs, table)
    return law[length]


def leaf_signs(tokens: np.ndarray, modulus: int, is_leaf: np.ndarray) -> np.ndarray:
    """(B, N): the sign ±1 of each leaf in an expression of + and −, 0 elsewhere."""
    M = modulus
    rows = np.arange(len(tokens))
    depth = np.zeros(len(tokens), dtype=np.int64)
    outer = np.ones((len(tokens), tokens.shape[1] + 2), dtype=np.int64)  # sign of the bracket at each depth
    pending = np.ones_like(depth)
    signs = np.zeros_like(tokens)
    for token, leaf, sign in zip(tokens.T, is_leaf.T, signs.T, strict=True):
        here = outer[rows, depth] * pending
        sign[:] = here * leaf
        depth += (token == M + 2).astype(np.int64) - (token == M + 3)
        outer[rows, depth] = np.where(token == M + 2, here, outer[rows, depth])
        pending = np.where(token == M + 1, -pending, np.where(token == M, pending, 1))
    return signs


def signed_sum_ceiling(digits: np.ndarray, leaves: np.ndarray, negative: np.ndarray, bags: np.ndarray) -> float:
    """The accuracy of the best guess of Σ ±d (mod M) from the bag. The rows show the law of the signs.

    digits    (B, M)  counts of each digit; all assignments of digits to leaves are equally likely
    leaves    (B,)    number of digits
    negative  (B,)    number of negative digits, which the model does not see; it knows the law of this number, given
                      `bags`
    bags      (B,)    a number that stands for the rest of the bag

    The guess for a row is the likeliest value under the signs of the other half of the rows. Its score is the
    probability of this value under the row's own signs, so the result is not biased upwards.
    """
    B, M = digits.shape
    K = int(leaves.max())
    # ways[b, r, v]: the number of choices of r of the digits, with sum v.
    ways = np.zeros((B, K + 1, M))
    ways[:, 0, 0] = 1
    for value in range(M):
        for step in range(int(digits[:, value].max())):
            more = ways.copy()
            more[:, 1:] += np.roll(ways, value, axis=2)[:, :-1]
            ways = np.where((digits[:, value] > step)[:, None, None], more, ways)
    share = ways / np.maximum(ways.sum(2, keepdims=True), 1)
    total = digits @ np.arange(M)
    doubled = 2 * np.arange(M)  # Σ ±d is `total` minus twice the sum of the negative digits
    lands = (total[:, None] - doubled) % M
    law = np.einsum("brs,bsv->brv", share, lands[..., None] == np.arange(M))
    _, bag = np.unique(bags, return_inverse=True)
    half = np.arange(B) % 2
    seen = np.zeros((2, int(bag.max()) + 1, K + 1))
    np.add.at(seen, (half, bag, negative), 1)
    guess = np.einsum("br,brv->bv", seen[1 - half, bag], law).argmax(1)
    return float(max(1 / M, law[np.arange(B), negative, guess].mean()))
