"""The report: run folders in, an answer with its uncertainty out. `python -m posenc report RUNS...`."""

from posenc.report.write import write

__all__ = ["write"]
