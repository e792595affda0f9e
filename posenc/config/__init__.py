"""From options to objects: what may be typed, what it builds, and what has no effect."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
CONFIGS = next(folder for folder in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if folder.is_dir())
"""posenc's own configs: inside an installed package, beside it in a checkout."""
