"""Finds files of a corpus that are near copies of each other, by the passages that they share."""

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

WINDOW = 32
"""The length of a passage in bytes."""

PASSAGES = 2**18
"""The approximate number of passages that are compared; in a smaller corpus all passages are."""

NEAR_COPY = 0.15
"""Two files are near copies if they have at least this share of the smaller file's passages in common ..."""

FEWEST_WINDOWS = 8
"""... and at least this many passages, or half of the smaller file's, because short files share a few by chance."""

MIX = np.uint32(0x9E3779B1)


def near_copies(texts: Sequence[bytes]) -> np.ndarray:
    """(len(texts),): the group of each text. Near copies of near copies are in the same group.

    A passage is compared if a hash of its first four bytes is small, so that all files use the same passages (Manber
    1994, "Finding similar files in a large file system"). Passages that repeat one word of eight bytes are left out.
    """
    ends = np.cumsum([len(text) + WINDOW for text in texts])
    joined = np.frombuffer(b"".join(text + bytes(WINDOW) for text in texts), np.uint8)
    count = len(joined) - WINDOW
    (hashed, words) = (np.ndarray((count,), kind, joined, strides=(1,)) for kind in (np.uint32, np.uint64))
    rate = max(1, round(count / PASSAGES))
    at = np.flatnonzero(hashed * MIX < np.uint32(2**32 // rate - 1)) if rate > 1 else np.arange(count)
    owner = ends.searchsorted(at, side="right")
    whole = at + 2 * WINDOW <= ends[owner]  # other passages reach into the next file
    at, owner = at[whole], owner[whole]
    parts = [words[at + first] for first in range(0, WINDOW, 8)]
    varied = (parts[0] != parts[1]) | (parts[1] != parts[2])
    passage = parts[0][varied]
    for part in parts[1:]:
        passage = passage * np.uint64(0x9E3779B97F4A7C15) + part[varied]
    _, column = np.unique(passage, return_inverse=True)
    shape = len(texts), int(column.max(initial=-1)) + 1
    contains = sparse.csr_matrix((np.ones(len(column), np.float32), (owner[varied], column)), shape)
    contains.data[:] = 1  # a passage that is twice in a file counts once
    shared = (contains @ contains.T).toarray()
    smaller = np.minimum.outer(shared.diagonal(), shared.diagonal())
    near = shared >= np.maximum(NEAR_COPY * smaller, np.minimum(FEWEST_WINDOWS, smaller / 2))
    return connected_components(sparse.csr_matrix(near & (smaller > 0)), directed=False)[1]
