"""Answers from a ledger: which encodings fit a need, which do not, and which comparisons are not decided."""
