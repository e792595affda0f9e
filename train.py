"""Train and test one model, or run a sweep over many: `python train.py encoding=learned_relative`."""

from posenc.config import CONFIGS
from posenc.jobs.launch import launch
from posenc.jobs.train import main

if __name__ == "__main__":
    launch(main, CONFIGS)
