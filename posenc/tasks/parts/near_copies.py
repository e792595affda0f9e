"""Which files of a corpus are near copies of each other, by the passages that they share."""

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

WINDOW = 32
"""Bytes of a passage."""

PASSAGES = 2**18
"""About how many passages of a corpus are looked at; of a smaller corpus, all."""

NEAR_COPY = 0.15
"""Share of the smaller file's passages from which on two files are near copies."""

FEWEST_WINDOWS = 8
"""They share at least so many passages, or half of the smaller file's: short files share an idiom by chance."""

MIX = np.uint32(0x9E3779B1)


def near_copies(texts: Sequence[bytes]) -> np.ndarray:
    """(len(texts),): the number of the group that each text belongs to; near copies of near copies are in one group.

    A passage is looked at where a hash of its first four bytes is small, so that the same passage is looked at in every
    file, wherever it stands there (sampling by content: Manber 1994, "Finding similar files in a large file system").
    Passages of one repeated word of eight bytes are left out.
    """
    ends = np.cumsum([len(text) + WINDOW for text in texts])
    joined = np.frombuffer(b"".join(text + bytes(WINDOW) for text in texts), np.uint8)
    count = len(joined) - WINDOW
    (hashed, words) = (np.ndarray((count,), kind, joined, strides=(1,)) for kind in (np.uint32, np.uint64))
    rate = max(1, round(count / PASSAGES))
    at = np.flatnonzero(hashed * MIX < np.uint32(2**32 // rate - 1)) if rate > 1 else np.arange(count)
    owner = ends.searchsorted(at, side="right")
    whole = at + 2 * WINDOW <= ends[owner]  # else it would go on into the next file
    at, owner = at[whole], owner[whole]
    parts = [words[at + first] for first in range(0, WINDOW, 8)]
    varied = (parts[0] != parts[1]) | (parts[1] != parts[2])
    passage = parts[0][varied]
    for part in parts[1:]:
        passage = passage * np.uint64(0x9E3779B97F4A7C15) + part[varied]
    _, column = np.unique(passage, return_inverse=True)
    shape = len(texts), int(column.max(initial=-1)) + 1
    holds = sparse.csr_matrix((np.ones(len(column), np.float32), (owner[varied], column)), shape)
    holds.data[:] = 1  # a passage that stands in a file twice counts once
    shared = (holds @ holds.T).toarray()
    smaller = np.minimum.outer(shared.diagonal(), shared.diagonal())
    near = shared >= np.maximum(NEAR_COPY * smaller, np.minimum(FEWEST_WINDOWS, smaller / 2))
    return connected_components(sparse.csr_matrix(near & (smaller > 0)), directed=False)[1]
