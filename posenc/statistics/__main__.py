"""`python -m posenc.statistics`: how often the intervals hold the truth."""

from posenc.statistics.simulation import main

main()
