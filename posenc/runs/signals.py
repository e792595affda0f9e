"""Signals that ask a run to stop. Needs no torch."""

import signal

from posenc.runs.slurm import slurm_job

HANGUP = getattr(signal, "SIGHUP", None)
"""A closed terminal or a broken connection sends it. Under `nohup` it is ignored, and posenc ignores it too."""
REQUEUE = getattr(signal, "SIGUSR1", None)
"""`sbatch --signal=USR1@90` sends it. Not every system has it."""


def stop_signals() -> list[signal.Signals]:
    """SIGINT, SIGTERM and SIGHUP; in a SLURM batch job SIGUSR1 too."""
    found = [signal.SIGINT, signal.SIGTERM]
    if HANGUP is not None and signal.getsignal(HANGUP) != signal.SIG_IGN:
        found.append(HANGUP)
    if REQUEUE is not None and slurm_job() and signal.getsignal(REQUEUE) == signal.SIG_DFL:
        found.append(REQUEUE)
    return found
