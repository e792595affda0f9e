"""Work for processes that import little, so that a test of them is short."""

import torch

from posenc.checks import ConfigError


def add(case: tuple[int]) -> list[tuple[int, int]]:
    """The case, and how many threads compute it."""
    if case[0] < 0:
        raise ConfigError("less than nothing")
    return [(case[0], torch.get_num_threads())]
