"""Which test proves which encoding against what; the attributes `proof` are checked against this."""

from collections.abc import Callable
from typing import TypeVar

Test = TypeVar("Test", bound=Callable)

PROOFS: dict[str, set[str]] = {}
"""For each encoding (the name of its yaml file), what it is proven against."""

FORMULA = "formula"
"""The paper's formula in numpy, written independently of the implementation."""


def proves(reference: str, *encodings: str) -> Callable[[Test], Test]:
    """This test proves these encodings against `reference`: a package's name on PyPI, or FORMULA."""
    for encoding in encodings:
        PROOFS.setdefault(encoding, set()).add(reference)
    return lambda test: test
