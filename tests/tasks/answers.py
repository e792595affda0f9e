"""Answers of classification tasks, computed from their tokens by rules that are written independently of the tasks."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor


def place(tokens: Tensor, value: int) -> Tensor:
    """(B,): the first place of the value."""
    return (tokens == value).int().argmax(1)


def at(tokens: Tensor, places: Tensor) -> Tensor:
    return tokens.gather(1, places[:, None])[:, 0]


def signed_distance(tokens: Tensor) -> Tensor:
    offset = place(tokens, 8) - place(tokens, 5)
    bin_ = ((offset.abs() - 1) * 4 // 31).clamp(max=3)  # bins of the trained length, 32
    return torch.where(offset > 0, 4 + bin_, 3 - bin_)


def chained(tokens: Tensor) -> Tensor:
    found = tokens[:, -1] - 255
    for _ in range(2):
        found = at(tokens, found)
    return found


def after_the_earlier_one(tokens: Tensor) -> Tensor:
    return at(tokens, (tokens == tokens[:, -1:]).int().argmax(1) + 1)


def twin_of_the_hole(tokens: Tensor) -> Tensor:
    half = tokens.shape[1] // 2
    return at(tokens, (place(tokens, 2) + half) % (2 * half))


def by_python(tokens: Tensor, symbols: str) -> Tensor:
    """Python evaluates the expressions. For an equation, each digit is tried as x."""
    answers = []
    for row in tokens.tolist():
        left, _, right = "".join(symbols[token] for token in row).partition("=")
        if right:
            answers += [x for x in range(5) if eval(left.replace("x", str(x))) % 5 == int(right)]
        else:
            answers.append(eval(left) % 5)
    return torch.tensor(answers)


def at_the_offset(tokens: Tensor) -> Tensor:
    k = tokens[:, -1] - 29  # questions 21 to 28 ask for −8 to −1, 29 to 36 for 1 to 8
    return at(tokens, place(tokens, 20) + k + (k >= 0).long())


def at_the_crossing(tokens: Tensor) -> Tensor:
    return at(tokens, place(tokens, 20) // 8 * 8 + place(tokens, 21) % 8)


AWARE: dict[str, Callable[[Tensor], Tensor]] = {
    "early_pattern": lambda tokens: place(tokens, 5),
    "abs_pattern": lambda tokens: (place(tokens, 5) > 3).long() + (place(tokens, 5) > 9),
    "chained_lookup": chained,
    "cycle_navigation": lambda tokens: ((tokens == 2).sum(1) - (tokens == 0).sum(1)) % 5,
    "distance": lambda tokens: (((place(tokens, 8) - place(tokens, 5)).abs() - 1) * 5 // 31).clamp(max=4),
    "even_pairs": lambda tokens: (tokens[:, 1:] != tokens[:, :-1]).sum(1) % 2,
    "first_of": lambda tokens: at(tokens, (tokens < 4).int().argmax(1)),
    "grid_crossing": at_the_crossing,
    "induction": after_the_earlier_one,
    "last_of": lambda tokens: at(tokens.flip(1), (tokens.flip(1) < 4).int().argmax(1)),
    "lookup": lambda tokens: at(tokens, tokens[:, -1] - 20),
    "majority": lambda tokens: tokens.mode(1).values,
    "max_retrieval": lambda tokens: at(tokens, tokens.argmax(1) + 1),
    "missing_duplicate": twin_of_the_hole,
    "modular_arithmetic": partial(by_python, symbols="01234+-*"),
    "modular_arithmetic_brackets": partial(by_python, symbols="01234+-*()"),
    "needle": lambda tokens: at(tokens, place(tokens, 20) + 1),
    "offset_indexing": at_the_offset,
    "parity": lambda tokens: (tokens == 1).sum(1) % 2,
    "pattern": lambda tokens: (
        ((tokens[:, 5] == 3) & (tokens[:, 10] == 9)).long() + 2 * ((tokens[:, 15] == 7) & (tokens[:, 20] == 4))
    ),
    "rel_pattern": lambda tokens: torch.tensor([0, 1, -1, 2, 3])[place(tokens, 8) - place(tokens, 5) + 2],
    "signed_distance": signed_distance,
    "solve_equation": partial(by_python, symbols="01234+-()x="),
    "sorting": lambda tokens: (tokens.diff(dim=1) >= 0).all(1).long(),
    "sum_mod_10": lambda tokens: (tokens == torch.arange(10)[:, None, None]).sum(2).T @ torch.arange(10) % 10,
}
