"""The analysis of a finished run: what its model does with position. `python -m posenc analyze RUN...`."""

from posenc.analysis.write import write

__all__ = ["write"]
