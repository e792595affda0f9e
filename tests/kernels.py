"""Attention under each value of `model.attention`, for tests that hold all of them to one answer."""

from functools import partial

from posenc.attention.kernels.choose import OPTIONS, attend

IMPLEMENTATIONS = {name: partial(attend, attention=name) for name in OPTIONS}
auto, sdpa = IMPLEMENTATIONS["auto"], IMPLEMENTATIONS["sdpa"]
