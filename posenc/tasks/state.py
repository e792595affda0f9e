"""Memory of one bit among distractors, and of the last symbols of a Markov source."""

from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.stats import binom
from torch import Generator, Tensor

from posenc import checks
from posenc.checks import ConfigError
from posenc.streams import stream_seed
from posenc.tasks.base import IGNORE
from posenc.tasks.parts.left_to_right import LeftToRight

WRITE, READ, SKIP = 2, 3, 4
"""Instructions of the flip-flop; 0 and 1 are the bits."""


@dataclass(kw_only=True, eq=False, repr=False)
class FlipFlopDataset(LeftToRight):
    """Read the bit that was written last.

        tokens   w 1 i 0 i 1 r 1 w 0 i 1 r 0        w write, i ignore, r read; a bit follows each of them
        answer   – – – – – – 1 – – – – – 0 –        at r, before the bit

    Law: FFL(p) of the source. The first instruction is w and the last r; the others are i with probability `p_ignore`,
    w and r with (1 − p_ignore) / 2 each. Bits after w and i are uniform, the bit after r is the memory. An odd length
    ends with the last r. Random guess: ½, and both answers are equally frequent.
    Source: Liu et al. 2023 (https://arxiv.org/abs/2306.00946), who train at p_ignore 0.8 with 512 tokens, and test at
    0.98 (sparse: far reads; flip_flop_sparse) and 0.1 (dense: many distractors). Deviations: 32 tokens; training and
    test have the same law; only reads have targets, because all other next tokens are random.
    """

    published = (
        "transformers make rare errors, a small LSTM makes none (the source). CoPE, whose positions depend on the "
        "context, solves it; other popular encodings do not (Golovneva et al. 2024, https://arxiv.org/abs/2405.18719)."
    )

    vocab_size: int = field(default=5, init=False)
    p_ignore: float = 0.8

    num_outputs = 2
    min_length = 3
    determined_by = "sequence"  # the last write is among the tokens

    def __post_init__(self) -> None:
        checks.number(self, low=0, high=1, p_ignore=self.p_ignore)
        super().__post_init__()

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        steps = (length + 1) // 2
        uniform = torch.rand((batch, steps), generator=generator).numpy()
        active, write = uniform >= self.p_ignore, uniform >= (1 + self.p_ignore) / 2
        active[:, -1] = write[:, 0] = True
        write[:, -1] = False
        tokens = np.empty((batch, 2 * steps), dtype=np.int64)
        tokens[:, ::2], tokens[:, 1::2] = SKIP, torch.randint(2, (batch, steps), generator=generator).numpy()
        targets = np.full_like(tokens, IGNORE)
        # All rows are one list. Each row begins with a write, so the last write before a read is in the same row.
        flat, writes, reads = tokens.reshape(-1), 2 * np.flatnonzero(write), 2 * np.flatnonzero(active > write)
        flat[writes], flat[reads] = WRITE, READ
        flat[reads + 1] = flat[writes[writes.searchsorted(reads) - 1] + 1]
        targets.reshape(-1)[reads] = flat[reads + 1]
        return torch.from_numpy(tokens[:, :length]), torch.from_numpy(targets[:, :length])

    def order_blind_ceiling(self, length: int) -> float:
        """Exact, without terms below 1e-9: the bag of the tokens up to the r shows how many bits were 1.

        Without ignored steps, let d_m(w, j) = P(w writes, j ones, memory 1) − P(..., memory 0) after m steps. A read
        repeats the memory, a write draws a new one:

            memory s:   f_m+1(w, j + s, s) = ½ f_m(w, j, s) + ½ · ½ Σ_s' f_m(w − 1, j, s')

        k ignored steps add Binomial(k, ½) ones. The best guess is right with probability ½ + ½ Σ |d_m ∗ Binomial(k)|,
        averaged over all reads of all sequences.
        """
        steps, active = (length + 1) // 2, 1 - self.p_ignore
        weight = np.zeros((steps, steps))  # [m, k]: expected reads that m active and k ignored steps precede
        for before in range(1, steps):
            m = np.arange(1, before + 1)
            asked = 1.0 if before == steps - 1 else active / 2
            weight[m, before - m] += asked * binom.pmf(m - 1, before - 1, active)
        f = np.zeros((2, steps + 1, steps + 1))  # [memory, w, j], m = 1
        f[0, 1, 0] = f[1, 1, 1] = 0.5
        gain = 0.0
        for m in range(1, steps):
            counted = np.flatnonzero(weight[m] > 1e-9)
            signal = (f[1] - f[0])[1 : m + 1]  # d_m; each iteration adds one ignored step
            for k in range(counted[-1] + 1 if len(counted) else 0):
                reach = signal[:, : m + k + 1]
                if weight[m, k] > 1e-9:
                    gain += weight[m, k] * np.abs(reach).sum()
                signal[:, 1 : m + k + 2] = (signal[:, 1 : m + k + 2] + reach) / 2
                signal[:, 0] /= 2
            g = f / 2
            g[:, 1:] += f.sum(0)[:-1] / 4
            f = np.stack((g[0], np.roll(g[1], 1, axis=1)))
        return float(0.5 + 0.5 * gain / weight.sum())


@dataclass(kw_only=True, eq=False, repr=False)
class MarkovDataset(LeftToRight):
    """The next symbol of a Markov source of order k.

        order: 2     tokens   3 0 5 5 1        a row of `vocab_size` probabilities for each pair of symbols
                     answer   – 5 5 1 2        every symbol after the first two

    Law: `table_seed` fixes the table. Each row is drawn from a Dirichlet law with parameter `concentration` in every
    component, and rounded to whole 1024ths, none of them 0. Sequences start from the stationary law, so every place has
    the same law. The answer at a place is the next symbol, if k symbols have been seen. Random guess: 1/vocab_size.
    The task is a substitute for text with a known entropy.

    The best model names the likeliest symbol given the last k, and its loss is the entropy rate. `references` has this
    rate and the entropy of single symbols in bits; a model whose loss is below the latter uses context.
    """

    published = (
        "nothing that we know of about encodings if all sequences share one table. If each has its own, a few layers "
        "learn sources of high order in context (Rajaraman et al. 2024, https://arxiv.org/abs/2407.17686)."
    )

    vocab_size: int = 8
    order: int = 2
    concentration: float = 0.3
    table_seed: int = 0

    PARTS = 1024

    def __post_init__(self) -> None:
        checks.positive(self, maximum=12, order=self.order)
        checks.positive(self, minimum=2, vocab_size=self.vocab_size)
        checks.positive(self, minimum=0, table_seed=self.table_seed)
        checks.number(self, low=0.01, high=1000, concentration=self.concentration)
        V, contexts = self.vocab_size, self.vocab_size**self.order
        if contexts > 4096 or V > 256:
            raise ConfigError(
                f"{self}: {V} symbols of order {self.order} make {contexts} contexts; at most 4096, and at most "
                "256 symbols, are possible; lower dataset.order or dataset.vocab_size."
            )
        self.num_outputs, self.min_length = V, self.order
        super().__post_init__()
        self.table, parts = self._draw(contexts)
        self.stationary = self._power_iteration()
        symbol = np.repeat(np.tile(np.arange(V), contexts), parts.ravel()).reshape(contexts, self.PARTS)
        following = (np.arange(contexts)[:, None] * V + symbol) % contexts
        # state = context · PARTS; the entry at state + u, u uniform in [0, PARTS), is the next state
        self._step = following.ravel() * self.PARTS
        self._start = torch.from_numpy(self.stationary)

    def _draw(self, contexts: int) -> tuple[np.ndarray, np.ndarray]:
        """P(next | context) and its 1024ths, [context, next]; the last digit of a context is its last symbol."""
        free = self.PARTS - self.vocab_size
        stream = np.random.default_rng(stream_seed(self.table_seed, f"{self}/table"))
        cuts = stream.dirichlet(np.full(self.vocab_size, self.concentration), contexts).cumsum(1) * free
        cuts[:, -1] = free
        parts = 1 + np.diff(np.round(cuts).astype(int), axis=1, prepend=0)
        return parts / self.PARTS, parts

    def _power_iteration(self) -> np.ndarray:
        """The stationary law of contexts; it exists, because every symbol may follow any context."""
        V = self.vocab_size
        law = np.full(V**self.order, V**-self.order)
        for _ in range(100_000):
            following = (law[:, None] * self.table).reshape(V, -1).sum(0)
            if np.abs(following - law).sum() < 1e-14:
                break
            law = following / following.sum()
        return law

    def sample(self, generator: Generator, batch: int, length: int) -> tuple[Tensor, Tensor]:
        V, k = self.vocab_size, self.order
        context = torch.multinomial(self._start, batch, replacement=True, generator=generator)
        uniform = torch.randint(self.PARTS, (length + 1 - k, batch), generator=generator).numpy()
        states = np.empty((length + 2 - k, batch), dtype=np.int64)
        states[0] = context.numpy() * self.PARTS
        for state, drawn, following in zip(states[:-1], uniform, states[1:], strict=True):
            drawn += state
            self._step.take(drawn, out=following, mode="clip")  # "raise" would need a buffer
        sequence = np.empty((batch, length + 1), dtype=np.int64)
        sequence[:, :k] = context.numpy()[:, None] // V ** np.arange(k - 1, -1, -1) % V
        sequence[:, k:] = (states[1:] // self.PARTS % V).T
        targets = sequence[:, 1:].copy()
        targets[:, : k - 1] = IGNORE
        return torch.from_numpy(sequence[:, :-1].copy()), torch.from_numpy(targets)

    def order_blind_ceiling(self, length: int) -> float | None:
        """Order 1: the order-aware ceiling, because a model knows the token that it reads. Higher orders: None.

        The bag of the tokens so far says something about the symbols before the last, and a sum over all orders of all
        bags is too large. `references` has the accuracy from the last token, a lower bound that becomes tight.
        """
        return self.order_aware_ceiling(length) if self.order == 1 else None

    def order_aware_ceiling(self, length: int) -> float:
        """Exact: E[max_s P(s | context)] under the stationary law (power iteration)."""
        return float(self.stationary @ self.table.max(1))

    def references(self) -> dict[str, float]:
        """Entropies of the source and of single symbols in bits; accuracies without context and from the last token."""
        V = self.vocab_size
        joint = self.stationary[:, None] * self.table
        pairs = joint.reshape(-1, V, V).sum(0)  # [last token, next]
        single = pairs.sum(0)
        return {
            "entropy_rate_bits": _bits(joint) - _bits(self.stationary),
            "unigram_entropy_bits": _bits(single),
            "unigram_accuracy": float(single.max()),
            "last_token_accuracy": float(pairs.max(1).sum()),
        }


def _bits(law: np.ndarray) -> float:
    """Entropy in bits."""
    positive = law[law > 0]
    return float(-(positive * np.log2(positive)).sum())
