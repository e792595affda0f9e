"""How fast a quantity goes to zero from layer to layer."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import curve_fit

from posenc.checks import ConfigError

NONE, SINGLE, DOUBLE = "none", "single exponential", "double exponential"
FLOOR = 1e-13
"""Ratios below this are rounding errors of float64."""


@dataclass(frozen=True)
class Decay:
    """How r_0, r_1, ..., r_L falls.

    kind       double exponential: log r_l = −a·g^l.  single exponential: log r_l = a + l·log f.  none: see `decay`
    factor     f: a layer multiplies r by f, from the single exponential fit (over the second half if `kind` is none)
    growth     g: a layer multiplies log r by g, from the double exponential fit (3: the cubic rate of Dong et al. 2021)
    order      p: the slope of log r_{l+1} on log r_l (1: linear convergence, 3: cubic)
    residual   for each fit the root mean square error of log r, divided by the range of log r
    layers     how many ratios are above the floor and were fitted
    """

    kind: str
    factor: float
    growth: float
    order: float
    residual: dict[str, float]
    layers: int


def decay(ratios: ArrayLike, flat: float = 0.95) -> Decay:
    """Fit both laws to the ratios before the first one below `FLOOR`. The law with the smaller residual gives `kind`.

    kind is none if, in the second half of the layers, a layer multiplies r by more than `flat`, and no ratio has
    reached the floor. The order of convergence, as in numerical analysis, needs at least four ratios above the floor.
    """
    y = np.log(np.asarray(ratios, dtype=float))
    below = np.flatnonzero(y < np.log(FLOOR))
    kept = y[: below[0]] if below.size else y
    if kept.size < 3:
        raise ConfigError(f"decay: {kept.size} ratios are above the floor {FLOOR:g}, but a fit needs 3; start earlier.")
    layer = np.arange(kept.size)
    slope, start = np.polyfit(layer, kept, 1)
    (a, g), _ = curve_fit(_double, layer, kept, p0=(max(1e-3, -kept[0]), 2.0), bounds=((0, 0.1), (np.inf, 50)))
    span = float(np.ptp(kept)) or 1.0
    residual = {
        SINGLE: float(np.sqrt(np.mean((kept - start - slope * layer) ** 2))) / span,
        DOUBLE: float(np.sqrt(np.mean((kept - _double(layer, a, g)) ** 2))) / span,
    }
    half = kept[kept.size // 2 :]
    late = float(np.exp(np.polyfit(np.arange(half.size), half, 1)[0])) if half.size > 1 else 0.0
    kind = min(residual, key=lambda name: residual[name])
    factor = float(np.exp(slope))
    if not below.size and late > flat:
        kind, factor = NONE, late
    order = float(np.polyfit(kept[:-1], kept[1:], 1)[0])
    return Decay(kind, factor, float(g), order, residual, int(kept.size))


def _double(layer: np.ndarray, a: float, g: float) -> np.ndarray:
    return -a * g**layer
