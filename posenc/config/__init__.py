"""From options to objects: checks of options and configs, and the objects that they build."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
CONFIGS = next(folder for folder in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if folder.is_dir())
"""The folder of posenc's own configs. In an installed package it is inside the package, in a checkout beside it."""
