"""What a run needs to know of SLURM: which job it is in, and how that is queued again. Needs no torch."""

import os
import subprocess


def slurm_job() -> str | None:
    """The SLURM batch job that this process is in, as `scontrol` calls it; None elsewhere and in a shell of SLURM's.

    Jobs that submitit started are left to it: it takes SIGUSR1 or SIGUSR2 itself and queues them again.
    """
    job, array = os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURM_ARRAY_JOB_ID")
    if os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive") or "SUBMITIT_EXECUTOR" in os.environ:
        return None
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if job and array else job


def requeue(job: str) -> str:
    """Ask SLURM to run the job again; in words, what came of it."""
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the job {job} was not queued again ({error})"
    if done.returncode:
        return f"the job {job} was not queued again ({done.stderr.strip() or f'scontrol: status {done.returncode}'})"
    return f"the job {job} is queued again and goes on from here"
