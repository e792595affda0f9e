"""The learning-rate schedule at its corners."""

from itertools import pairwise

import pytest

from posenc.training.stopping.schedule import warmup_cosine


def test_learning_rate_rises_linearly_and_falls_to_zero() -> None:
    shares = [warmup_cosine(step, 10, 110) for step in range(111)]
    assert shares[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert shares[10] == 1
    assert shares[60] == pytest.approx(0.5)
    assert shares[110] == pytest.approx(0, abs=1e-12)
    assert all(a >= b for a, b in pairwise(shares[10:]))
