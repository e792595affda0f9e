"""Checks at the place of use: which value, which limit, what to type instead."""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import Any, Self


class ConfigError(ValueError):
    """A user's mistake: its message is one sentence or two and is all that the user needs to see.

    options  arguments in the message, such as base, whose names in a config are longer, such as encoding.base
    """

    def __init__(self, message: str, *options: str) -> None:
        super().__init__(message)
        self.options = options

    def named(self, key: Callable[[str], str]) -> Self:
        """The same mistake, with `key(option)` in the place of each option in the message."""
        keys = {option: key(option) for option in self.options}
        message = str(self)
        if keys:
            names = "|".join(map(re.escape, sorted(keys, key=len, reverse=True)))
            message = re.sub(rf"(?<![\w.])({names})(?!\w)", lambda found: keys[found[0]], message)
        return type(self)(message, *keys.values())


class UndefinedAtLength(ConfigError):
    """An encoding or a scheme is not defined for sequences this long: a mistake in training, a gap in a test."""


MAX_INT64 = 2**63 - 1
"""Largest whole number that a tensor can hold."""

MAX_NUMBERS = 2**29
"""Largest tensor allowed, in numbers (2 GiB of float32); above it we assume a typing error."""

MAX_WIDTH = 2**14
"""Largest width of a layer: a matrix between two such layers has 2²⁸ numbers."""


def given(**values: Any) -> dict[str, Any]:
    """The values that are not None, for checks of arguments that may be None."""
    return {name: value for name, value in values.items() if value is not None}


def positive(owner: object, *, minimum: int = 1, maximum: int = MAX_INT64, **values: Any) -> None:
    """Each value must be a whole number from `minimum` to `maximum`."""
    for name, value in values.items():
        option = _option(owner, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise ConfigError(f"{_name(owner)}: {option} must be a whole number ≥ {minimum}, got {value!r}.", option)
        if value > maximum:
            raise ConfigError(f"{_name(owner)}: {option} must be a whole number ≤ {maximum}, got {value}.", option)


def at_least(owner: object, least: int, why: str, **values: Any) -> None:
    """Each value must be a whole number from `least` on; the message of one that is positive says why."""
    positive(owner, **values)
    for name, value in values.items():
        if value < least:
            option = _option(owner, name)
            raise ConfigError(f"{_name(owner)}: {why}, so {option} must be at least {least}, got {value}.", option)


def tensor_fits(owner: object, **sizes: Any) -> None:
    """A tensor of these sizes, each of them a whole number, must have at most `MAX_NUMBERS` numbers."""
    positive(owner, **sizes)
    if math.prod(sizes.values()) > MAX_NUMBERS:
        product = " by ".join(f"{name} {size:,}" for name, size in sizes.items())
        raise ConfigError(
            f"{_name(owner)}: a tensor of {product} is too large, at most {MAX_NUMBERS:,} numbers are possible; "
            f"lower {max(sizes, key=lambda name: sizes[name])}.",
            *sizes,
        )


def number(owner: object, *, low: float, high: float = float("inf"), open_low: bool = False, **values: Any) -> None:
    """Each value must be a number in [low, high], or in (low, high] when `open_low`."""
    for name, value in values.items():
        option = _option(owner, name)
        what = f"{_name(owner)}: {option}"
        if isinstance(value, int) and abs(value) > MAX_INT64:
            raise ConfigError(f"{what} is too large for a whole number, got {value}; write it as 1e20.", option)
        real = isinstance(value, int | float) and not isinstance(value, bool)
        if not (real and math.isfinite(value) and low <= value <= high) or (open_low and value == low):
            limits = [f"{'>' if open_low else '≥'} {low:g}"] if low != -float("inf") else []
            limits += [f"≤ {high:g}"] if high != float("inf") else []
            limit = f" {' and '.join(limits)}" if limits else ""
            kind = "finite number" if isinstance(value, float) and not math.isfinite(value) else "number"
            raise ConfigError(f"{what} must be a {kind}{limit}, got {value!r}.", option)


def one_of(owner: object, options: Iterable[str], **values: Any) -> None:
    """Each value must be one of the options; the message names the nearest."""
    options = list(options)
    for name, value in values.items():
        if value not in options:
            known = f"{', '.join(options)}.{nearest(str(value), options)}"
            option = _option(owner, name)
            raise ConfigError(f"{_name(owner)}: {option}={value} is not one of {known}", option)


def nearest(wrong: str, options: Sequence[str]) -> str:
    """A sentence that names the option that was probably meant; an empty text if none is like it."""
    near = get_close_matches(wrong, options, n=1)
    return f" Did you mean {near[0]}?" if near else ""


def boolean(owner: object, **values: Any) -> None:
    """Each value must be true or false."""
    for name, value in values.items():
        if not isinstance(value, bool):
            option = _option(owner, name)
            raise ConfigError(f"{_name(owner)}: {option} must be true or false, got {value!r}.", option)


def under_a_causal_mask(owner: object, *, causal: bool, otherwise: str = "") -> None:
    """`causal` must be true; the message says what to set, `otherwise` what to take instead."""
    boolean(owner, causal=causal)
    if not causal:
        raise ConfigError(f"{_name(owner)} needs a causal mask; set model.causal=true{otherwise}.")


def even(owner: object, why: str, **values: Any) -> None:
    """Each value must be an even whole number of at least 2; the message says why."""
    positive(owner, **values)
    for name, value in values.items():
        if value % 2:
            option = _option(owner, name)
            raise ConfigError(f"{_name(owner)} {why}: {option} must be even, got {value}.", option)


def repeats(owner: object, num_layers: int, **patterns: Sequence[object]) -> None:
    """Each pattern must fill the layers a whole number of times."""
    for name, pattern in patterns.items():
        count = len(pattern)
        if not count or num_layers % count:
            more = f"set model.num_layers to a multiple of {count}, or " if count else ""
            raise ConfigError(
                f"{_name(owner)}: {name} is a pattern of {count} layers and does not fill {num_layers} a whole number "
                f"of times; {more}give {num_layers}, one for each layer."
            )


def divisible(owner: object, *, dim: int, num_heads: int) -> None:
    """The width must split evenly into heads."""
    positive(owner, maximum=MAX_WIDTH, dim=dim, num_heads=num_heads)
    if dim % num_heads:
        raise ConfigError(
            f"{_name(owner)}: dim {dim} does not split into {num_heads} heads; "
            f"set model.dim to a multiple of {num_heads}, such as {max(1, round(dim / num_heads)) * num_heads}."
        )


def _name(owner: object) -> str:
    return owner if isinstance(owner, str) else type(owner).__name__


def _option(owner: object, name: str) -> str:
    """The option as it is typed, such as dataset.length, if the owner's class says which group it is an option of."""
    group = getattr(owner, "config_group", None)
    return name if group is None else f"{group}.{name}"
