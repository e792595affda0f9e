"""What the processes of a run other than the first do, started by ranks.py.

`python -m posenc.jobs.follow RANK WORLD PORT FOLDER`.

The composed config comes on standard input; none comes if the first process found a mistake in it.
"""

import sys
from contextlib import suppress
from pathlib import Path
from typing import cast

from omegaconf import DictConfig, OmegaConf

from posenc.jobs.ranks import OneMachine, lost
from posenc.jobs.run import prepare, thread_limit, train
from posenc.runs.folder import RunFolder
from posenc.training.divergence import Diverged
from posenc.training.interrupt import GracefulStop, Interrupted


def follow(rank: int, world: int, port: int, folder: Path) -> None:
    """Train and test this rank's share; rank 0 tells of the rest, and of a run that diverged or was stopped."""
    text = sys.stdin.read()
    if not text:
        return
    config, stop = cast(DictConfig, OmegaConf.create(text)), GracefulStop()
    with suppress(Diverged, Interrupted), stop.listening(), thread_limit(config.threads):
        meeting = OneMachine(rank, world, port)
        parts, checkpoint, _ = prepare(config, RunFolder(folder), meeting, stop)
        meeting.join(parts.trainer.strategy.root_device)
        train(parts, checkpoint)


if __name__ == "__main__":
    rank, world, port, folder = sys.argv[1:]
    try:
        follow(int(rank), int(world), int(port), Path(folder))
    except RuntimeError as error:
        if not lost(error):
            raise
        reason = str(error).splitlines()[0]
        print(f"process rank{rank} ends, for another one has: {reason}")
        print("the same command goes on from the last checkpoint")
        sys.exit(1)
