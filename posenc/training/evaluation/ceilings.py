"""Ceilings and references of a task. A process computes them once, and all runs of a sweep share them."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
from torch import Tensor

from posenc.model.encoder import Encoder
from posenc.tasks.base import Task

Known = tuple[dict[int, tuple[float | None, float | None]], dict[str, float]]
"""(order-blind, order-aware) ceiling by length; references by name."""
_KEPT: dict[tuple[Any, ...], Known] = {}


def achievable(task: Task, encoder: Encoder) -> Known:
    """The ceilings at all lengths of a run, for a model with this mask, read-out and window, and the references.

    They depend only on the task's fields, which are the key of the cache. If a field is not a plain value or an array,
    they are computed each time.
    """
    how = {"causal": encoder.causal, "readout": encoder.readout, "window": encoder.window}
    try:
        key = type(task), _key(vars(task)), *how.values()
    except TypeError:
        return _asked(task, how)
    if key not in _KEPT:
        _KEPT[key] = _asked(task, how)
    ceilings, references = _KEPT[key]
    return dict(ceilings), dict(references)


def _asked(task: Task, how: Mapping[str, Any]) -> Known:
    lengths = {task.length[1], *task.test_lengths}
    return {length: task.ceilings(length, **how) for length in lengths}, task.references()


def _key(value: Any) -> Any:
    """A key that is equal only for equal values. Raises TypeError if a value is not plain."""
    if isinstance(value, Mapping):
        return "mapping", *((_key(name), _key(child)) for name, child in value.items())
    if isinstance(value, list | tuple):
        return type(value), *map(_key, value)
    if isinstance(value, Tensor):
        value = value.numpy()
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.dtype.str, value.shape, blake2b(value.tobytes(), digest_size=16).digest()
    if value is None or type(value) in (bool, int, float, str, bytes):
        return type(value), value
    raise TypeError(f"a {type(value)} is no plain value")
