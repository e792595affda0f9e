"""From a ledger to an answer: which encodings a need may take, which it should avoid, and what is not decided."""
