"""Records which tests compare which encodings with what; the attributes `proof` are checked against this record."""

from collections.abc import Callable
from typing import TypeVar

Test = TypeVar("Test", bound=Callable)

PROOFS: dict[str, set[str]] = {}
"""{name of an encoding's yaml file: what its tests compare it with}."""

FORMULA = "formula"
"""The paper's formula in numpy, written independently of the implementation."""


def proves(reference: str, *encodings: str) -> Callable[[Test], Test]:
    """The test compares these encodings with `reference`: a package's name on PyPI, or FORMULA."""
    for encoding in encodings:
        PROOFS.setdefault(encoding, set()).add(reference)
    return lambda test: test
