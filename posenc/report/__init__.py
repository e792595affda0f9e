"""The report: compares the runs in run folders, with uncertainties. `python -m posenc report RUNS...`."""

from posenc.report.write import write

__all__ = ["write"]
