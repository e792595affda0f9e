"""The analysis: a finished run in, what its model does with position out. `python -m posenc analyze RUN...`."""

from posenc.analysis.write import write

__all__ = ["write"]
