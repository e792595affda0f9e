"""Builds an encoding again from its `extra_repr`, also a mixture."""

from typing import Any

from posenc.encodings.base import PositionalEncoding
from posenc.encodings.mixture import Mixture


def arguments(encoding: PositionalEncoding) -> dict[str, Any]:
    """The constructor's arguments as `repr` gives them, and the parts of a mixture."""
    parts = {"parts": dict(encoding.parts.items())} if isinstance(encoding, Mixture) else {}
    return parts | eval(f"dict({encoding.extra_repr()})", {"inf": float("inf")})


def rebuilt(encoding: PositionalEncoding, **changed: Any) -> PositionalEncoding:
    """The same encoding with other values of those `changed` arguments that it has, also in its parts."""
    given = arguments(encoding)
    own = given | {name: value for name, value in changed.items() if name in given}
    if isinstance(encoding, Mixture):
        own["parts"] = {name: rebuilt(part, **changed) for name, part in given["parts"].items()}
    return type(encoding)(**own)
