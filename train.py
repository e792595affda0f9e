"""Train and test one encoder, or sweep over many: `python train.py encoding=learned_relative`."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from posenc.config.mistakes import mistakes
from posenc.jobs.launch import launch

CONFIGS = Path(__file__).resolve().parent / "configs"


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="train")
def main(config: DictConfig) -> float | None:
    """Build, fit, test, write the result (see posenc/jobs); the best validation loss, for searches."""
    from posenc.jobs.job import job

    with mistakes(CONFIGS):
        return job(config)


if __name__ == "__main__":
    launch(main, CONFIGS)
