"""The command that trains: `python train.py WORDS` in a checkout, `posenc train WORDS` where posenc is installed."""

import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
from omegaconf import DictConfig

from posenc.config import CONFIGS
from posenc.config.mistakes import mistakes
from posenc.jobs.launch import launch


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="train")
def main(config: DictConfig) -> float | None:
    """Build, fit, test, write the result (see posenc/jobs). Returns the best validation loss, for searches."""
    from posenc.jobs.job import job

    with mistakes(CONFIGS):
        return job(config)


def command(words: Sequence[str]) -> None:
    """Train what the words describe. The folder configs/ in the current folder is read besides posenc's own."""
    own = Path.cwd() / "configs"
    named = any(word.partition("=")[0] in ("--config-dir", "-cd") for word in words)
    if own.is_dir() and not named and own.resolve() != CONFIGS:
        words = [f"--config-dir={own}", *words]
    sys.argv = ["train.py", *words]
    launch(main, CONFIGS)
