"""Freed memory stays with the process that asked for it."""

import subprocess
import sys

import pytest


def test_freed_memory_stays_with_a_run() -> None:
    """Two processes do the same; the one that keeps freed memory is handed far fewer new pages."""
    script = """
import resource, sys
import torch
from posenc.memory import keep_freed
print(int(keep_freed()) if sys.argv[1] == "keep" else 1)
before = None
for step in range(30):
    held = [torch.ones(2**20) for _ in range(8)]  # 4 MiB each
    del held
    if step == 4:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    found: dict[str, int] = {}
    for asked in ("keep", "as it comes"):
        done = subprocess.run([sys.executable, "-c", script, asked], capture_output=True, text=True, check=True)
        able, found[asked] = map(int, done.stdout.split())
        if not able:
            pytest.skip("this C library cannot be told")
    assert found["keep"] < 0.1 * found["as it comes"]
