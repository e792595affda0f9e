"""Imported by the process from which tests.commands.Forked forks; what a command imports is then there already."""

import os
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path

import torch.distributed.run  # noqa: F401

import posenc.jobs.ranks  # noqa: F401
import train  # noqa: F401


def run(words: list[str], out: Path, errors: Path, folder: Path, around: Mapping[str, str]) -> None:
    """`python WORDS` in this process, with the environment `around`; what it prints goes to files."""
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(around)
    for number, path in ((1, out), (2, errors)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(file, number)
        os.close(file)
    module = words[0] == "-m"
    sys.path[:0] = [str(folder if module else Path(words[0]).parent), *_folders(around.get("PYTHONPATH", ""))]
    sys.argv = words[module:]
    if module:
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(words[0], run_name="__main__")


def _folders(path: str) -> list[str]:
    return [folder for folder in path.split(os.pathsep) if folder]
