"""State tracking: words over a group of permutations, and the product of all letters so far."""

from dataclasses import dataclass, field
from itertools import permutations

import numpy as np
import torch
from torch import Generator, Tensor

from posenc import checks
from posenc.tasks.base import Task

GROUPS = ("S3", "S4", "S5", "A4", "A5")
LETTERS = ("generators", "elements")

Permutation = tuple[int, ...]
"""The new place of each object: object i goes to place [i]."""


def elements(group: str) -> list[Permutation]:
    """All permutations of the group, in the order of their digits: the identity first. A_n has the even ones."""
    every = permutations(range(int(group[1])))
    return [p for p in every if group[0] == "S" or not _odd(p)]


def generators(group: str) -> list[Permutation]:
    """Two generators: a swap and a cycle of all n (S_n); a cycle of three and the longest cycle that is even (A_n)."""
    n = int(group[1])
    if group[0] == "S":
        return [_turn(n, range(2)), _turn(n, range(n))]
    return [_turn(n, range(3)), _turn(n, range(1 - n % 2, n))]


def _turn(n: int, places: range) -> Permutation:
    """The cycle that moves each of `places` to the next one, and the last to the first."""
    return tuple(places[(i - places[0] + 1) % len(places)] if i in places else i for i in range(n))


def _odd(p: Permutation) -> bool:
    return bool(sum(p[i] > p[j] for i in range(len(p)) for j in range(i, len(p))) % 2)


@dataclass(kw_only=True, eq=False, repr=False)
class StateTracking(Task):
    """The product of all letters so far, in a group of permutations.

        S3, letters s (swap the first two) and t (move each to the next place)

        letter    t    s    s    t    t
        state    120  021  120  201  012

    A state is the place of each object; letters act one after another on places. Law: letters are uniform and
    independent. `letters` is `generators` (two permutations that generate the group) or `elements` (all |G|
    permutations). Class i is the i-th permutation in the order of digits. Every token has an answer, which does not
    depend on later tokens. Random guess: 1/|G|.

    Source: Liu et al. 2023 (https://arxiv.org/abs/2210.10749) for generators, Merrill et al. 2024
    (https://arxiv.org/abs/2404.08819) for elements. The word problems of S5 and A5 are complete for NC¹. S3, S4 and A4
    are solvable groups, whose word problems need no more than TC⁰.
    """

    published = (
        "with any encoding that depends on position alone, transformers of constant depth cannot track S5 at every "
        "length unless TC⁰ = NC¹ (Merrill et al. 2024). PaTH, whose products of reflections depend on the tokens, can "
        "track states that RoPE cannot (Yang et al. 2025, https://arxiv.org/abs/2505.16381)."
    )

    vocab_size: int = field(init=False)
    group: str = "S3"
    letters: str = "generators"
    causal: bool = True
    readout: str = "per_token"

    per_token = True
    determined_by = "sequence"
    blind_masks = (True,)

    def __post_init__(self) -> None:
        checks.one_of(self, GROUPS, group=self.group)
        checks.one_of(self, LETTERS, letters=self.letters)
        states = elements(self.group)
        letters = states if self.letters == "elements" else generators(self.group)
        number = {state: i for i, state in enumerate(states)}
        self.step = torch.tensor([[number[tuple(a[place] for place in state)] for a in letters] for state in states])
        """[state, letter] → the next state."""
        self.num_outputs, self.vocab_size = len(states), len(letters)
        super().__post_init__()

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        tokens = torch.randint(self.vocab_size, (batch, length), generator=generator)
        states, state, step = np.empty((length, batch), dtype=np.int64), np.zeros(batch, np.int64), self.step.numpy()
        for t, letter in enumerate(tokens.T.numpy()):
            states[t] = state = step[state, letter]
        return tokens, torch.from_numpy(states.T.copy())

    def order_blind_ceiling(self, length: int) -> float | None:
        """Exact for two letters; None for all elements, which have too many bags to sum over.

        The model sees its own letter and the bag of the letters before it. Let f_t(k, g) be the probability that t
        letters have the product g, and that k of them are the second letter. Then the best guess at letter t + 1 is
        right with probability Σ_k max_g f_t(k, g), because the last letter only renames the states.
        """
        if self.letters == "elements":
            return None
        step = self.step.numpy()
        f = np.zeros((length + 1, self.num_outputs))
        f[0, 0] = 1
        total = 0.0
        for _ in range(length):
            total += f.max(1).sum()
            first, second = np.zeros_like(f), np.zeros_like(f)
            first[:, step[:, 0]] = f / 2  # a letter maps different states to different states
            second[1:, step[:, 1]] = f[:-1] / 2
            f = first + second
        return float(total / length)
