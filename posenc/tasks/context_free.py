"""The deterministic context-free tasks of Delétang et al. 2023. A machine with a stack can solve each of them."""

from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.special import gammaln
from scipy.stats import binom
from torch import Generator, Tensor

from posenc import checks
from posenc.streams import generator as stream
from posenc.tasks.base import Task
from posenc.tasks.copying import ReverseDataset
from posenc.tasks.parts.expressions import draw_expressions, leaf_signs, signed_sum_ceiling, value_frequencies
from posenc.tasks.parts.published import FAILS_BEYOND_40
from posenc.tasks.parts.transduction import TransductionTask, terminate


@dataclass(kw_only=True, eq=False, repr=False)
class ReverseString(ReverseDataset):
    """The string from its end to its start.

        tokens    0 1 1 0 1 0  _ _ _ _ _ _
        targets   – – – – – –  0 1 0 1 1 0

    Law: uniform symbols. Source: Delétang et al. 2023 (https://arxiv.org/abs/2207.02098), with two symbols. Random
    guess: ½ (1/alphabet).
    """

    published = (
        f"{FAILS_BEYOND_40}. Randomised positions raise accuracy at such lengths by 12.0 % on average over the fifteen "
        "tasks (Ruoss et al. 2023, https://arxiv.org/abs/2305.16843)."
    )

    alphabet: int = 2
    causal: bool = False


class StackManipulation(TransductionTask):
    """A stack from bottom to top, then actions (2 pops, 3 pushes 0, 4 pushes 1): which symbols are left, from the top?

        0 1 1 0 PUSH1 POP POP    → 0 1 1 is left, so 1 1 0 END
        1 1 0 POP POP POP        → END

        tokens    0 1 1 0 4 2 2  _ _ _ _ _ _ _ _
        targets   – – – – – – –  1 1 0 2 – – – –

    A pop of an empty stack does nothing. Law: the stack's height is uniform in 1 .. n − 1, bits and actions are
    uniform. The output has n + 1 slots. Source: Delétang et al. 2023 (https://arxiv.org/abs/2207.02098), where 2 is
    both POP and END, as here. Random guess: 1/3, because only three of the five symbols can be an answer.
    """

    published = f"{FAILS_BEYOND_40}."

    num_outputs = 5
    min_length = 2

    def output_length(self, length: int) -> int:
        return length + 1

    def pairs(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        """A symbol is left if the stack never falls below it afterwards. The lowest later height decides this."""
        height = torch.randint(1, length, (batch, 1), generator=generator)
        bits = torch.randint(2, (batch, length), generator=generator)
        actions = torch.randint(2, 5, (batch, length), generator=generator)
        acting = torch.arange(length) >= height
        x = torch.where(acting, actions, bits)
        popping = x == 2
        walk = (1 - 2 * popping.long()).cumsum(1)
        # If a walk cannot fall below 0, its height is walk − min(0, the lowest walk so far).
        level = walk - walk.cummin(1).values.clamp(max=0)
        lowest = level.flip(1).cummin(1).values.flip(1)
        left = ~popping & (lowest >= level)
        final = level[:, -1:]
        slots = torch.where(left, final - level, length)  # the top first; removed symbols go to the last slot
        symbols = torch.where(acting, x - 3, x)
        y = torch.zeros(batch, length + 1, dtype=torch.int64).scatter_(1, slots, symbols)
        return x, terminate(y, final[:, 0], length + 1)

    def order_blind_ceiling(self, length: int) -> float | None:
        """Exact up to length 32, by a sum over all bags. For longer sequences, measured on 50 000 drawn bags.

        The best model answers the most frequent of 0, 1 and END in all slots. For stack height s, p pops and u pushes,
        (s, p, u) fixes the expected share of bits that are left, by exchangeability. Let D be the largest lead of pops
        over pushes: P(D ≥ j) = C(p + u, u + j) / C(p + u, u) for j > p − u by reflection, else 1. Then s − min(s, D)
        bits of the stack and u − p + D pushes are left. None under a causal mask, because slots see different bags.
        """
        if self.causal:
            return None
        if length <= 32:
            bags, weight = self._all_bags(length)
        else:
            bags, weight = self._drawn_bags(length, 50_000), np.full(50_000, 1 / 50_000)
        s, ones, p, u, pushed_ones = bags
        ahead, popped = (self._expected_lead(p, u, cap) for cap in (p, np.minimum(s, p)))  # E D, E min(s, D)
        stack, pushed = s - popped, u - p + ahead
        from_ones = stack * ones / s + pushed * pushed_ones / np.maximum(u, 1)
        answered = np.maximum(np.maximum(from_ones, stack + pushed - from_ones), 1)
        return float(weight @ answered / (weight @ (stack + pushed + 1)))

    def _expected_lead(self, p: np.ndarray, u: np.ndarray, cap: np.ndarray) -> np.ndarray:
        """E min(D, cap), the sum of P(D ≥ j) over j = 1 .. cap ≤ p, from the tail of a binomial law."""
        tail = binom.sf(np.maximum(u, p), p + u, 0.5) - binom.sf(u + cap, p + u, 0.5)
        return np.clip(p - u, 0, cap) + np.maximum(tail, 0) / binom.pmf(u, p + u, 0.5)

    def _all_bags(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        s, ones, p, pushed_ones = (axis.ravel() for axis in np.indices((n, n + 1, n, n)))
        fits = (s >= 1) & (ones <= s) & (s + p + pushed_ones <= n)
        s, ones, p, pushed_ones = s[fits], ones[fits], p[fits], pushed_ones[fits]
        u = n - s - p
        log = _log_choose(s, ones) - s * np.log(2) + _log_choose(n - s, p) + _log_choose(u, pushed_ones)
        weight = np.exp(log - (n - s) * np.log(3)) / (n - 1)
        return np.stack((s, ones, p, u, pushed_ones)), weight

    def _drawn_bags(self, n: int, count: int) -> np.ndarray:
        random = np.random.default_rng(stream(0, f"{self}/blind/{n}").initial_seed())
        s = random.integers(1, n, count)
        p = random.binomial(n - s, 1 / 3)
        u = n - s - p
        return np.stack((s, random.binomial(s, 0.5), p, u, random.binomial(u, 0.5)))


def _log_choose(n: np.ndarray, k: np.ndarray) -> np.ndarray:
    return gammaln(np.maximum(n, 0) + 1.0) - gammaln(np.maximum(k, 0) + 1.0) - gammaln(np.maximum(n - k, 0) + 1.0)


@dataclass(kw_only=True, eq=False, repr=False)
class _OfExpressions(Task):
    """Expressions with brackets, or equations between them, modulo `modulus`."""

    vocab_size: int = field(init=False)
    modulus: int = 5

    determined_by = "sequence"  # in an equation x occurs once and its sign is ±1, so there is one solution
    signs = 6
    """The number of tokens that are not digits."""

    def __post_init__(self) -> None:
        checks.positive(self, minimum=2, modulus=self.modulus)
        self.num_outputs, self.vocab_size = self.modulus, self.modulus + self.signs
        super().__post_init__()

    def order_blind_ceiling(self, length: int) -> float | None:
        """For expressions of + and −, or equations: measured, on 8192 of them at length 32; see `signed_sum_ceiling`.

        Given the tree, all orders of an expression's digits are equally likely. In an equation x is
        ±(value − Σ ±digits), and all digits of the bag, with the value, are independent and uniform. None if the model
        sees the last token, because this token depends on the tree or is the value.
        """
        if self.readout == "last":
            return None
        M, count = self.modulus, min(8192, max(256, 2**23 // length**2))
        tokens = self.sample(stream(0, f"{self}/blind/{M}/{length}"), count, length)[0].numpy()
        is_unknown = tokens == M + 4
        signs = leaf_signs(tokens, M, (tokens < M) | is_unknown)
        of_unknown = (signs * is_unknown).sum(1)
        if of_unknown.any():  # x = ±value − Σ ±±digits
            signs *= -of_unknown[:, None]
            signs[:, -1] = of_unknown
            signs[is_unknown] = 0
        digits = np.stack([(tokens == value).sum(1) for value in range(M)], axis=1)
        leaves = digits.sum(1)
        bag = ((tokens == M + 1).sum(1) * tokens.shape[1] + (tokens == M + 2).sum(1)) * tokens.shape[1] + leaves
        return signed_sum_ceiling(digits, leaves, (signs < 0).sum(1), bag)


@dataclass(kw_only=True, eq=False, repr=False)
class ModularArithmeticBrackets(_OfExpressions):
    """The value of an expression with brackets, modulo 5.

        ((−2)*((3)+1))    −2 · 4 = −8 → 2

    Tokens: the digits, then + − * ( ); * only with `mult`. Law: see `draw_expressions`; it is the law of the source,
    whose alphabet has two more tokens, and whose experiments set `mult`. With `mult`, products make 0 more frequent
    than other values: see `references`. Source: Delétang et al. 2023 (https://arxiv.org/abs/2207.02098). Random guess:
    1/5 (1/modulus).
    """

    published = f"{FAILS_BEYOND_40}."

    mult: bool = True

    def __post_init__(self) -> None:
        checks.boolean(self, mult=self.mult)
        self.operators = 2 + self.mult
        self.signs = self.operators + 2
        super().__post_init__()

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        return draw_expressions(generator, batch, length, self.num_outputs, self.operators)

    def order_blind_ceiling(self, length: int) -> float | None:
        """Without *: measured. With *: None, since no closed form is known; `references` has a lower bound."""
        return None if self.mult else super().order_blind_ceiling(length)

    def references(self) -> dict[str, float]:
        """The share of the most frequent value at the longest trained length, exactly."""
        frequencies = value_frequencies(self.length[1], self.num_outputs, self.operators)
        return {"most_frequent_value": float(frequencies.max())}


class SolveEquation(_OfExpressions):
    """Which digit is x?

        (x+(3−1))=1    x + 2 = 1 (mod 5) → 4

    Tokens: the digits, then + − ( ) x =. Law: an expression of n − 2 tokens without * (see `draw_expressions`), "=" and
    its value. A position in the expression is drawn uniformly, and the first digit from there on (cyclically) becomes
    x. So x is uniform, and it is the only solution. This is the law of the source: Delétang et al. 2023
    (https://arxiv.org/abs/2207.02098). Random guess: 1/5 (1/modulus).
    """

    published = f"{FAILS_BEYOND_40}; a recurrent network with a stack does not either."

    min_length = 3

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        M, n = self.num_outputs, length - 2
        drawn, value = draw_expressions(generator, batch, n, M, 2)
        place = torch.randint(n, (batch, 1), generator=generator)
        expression, onwards = drawn.numpy(), np.arange(n) >= place.numpy()
        # Digits from there on get 2, earlier digits 1; the first largest number becomes x.
        x = np.arange(batch), ((expression < M) * (1 + onwards)).argmax(1)
        answer, expression[x] = expression[x], M + 4
        tokens = np.full((batch, length), M + 5)
        tokens[:, :n], tokens[:, -1] = expression, value.numpy()
        return torch.from_numpy(tokens), torch.from_numpy(answer)
