"""SLURM: the job of a run, and how to queue it again. Needs no torch."""

import os
import subprocess


def slurm_job() -> str | None:
    """The id of this process's SLURM batch job, as `scontrol` needs it; None outside a batch job.

    None also for jobs that submitit started, because submitit itself handles SIGUSR1 or SIGUSR2 and queues them again.
    """
    job, array = os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURM_ARRAY_JOB_ID")
    if os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive") or "SUBMITIT_EXECUTOR" in os.environ:
        return None
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if job and array else job


def requeue(job: str) -> str:
    """Ask SLURM to run the job again. Returns a sentence that says whether it will."""
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the job {job} was not queued again ({error})"
    if done.returncode:
        return f"the job {job} was not queued again ({done.stderr.strip() or f'scontrol: status {done.returncode}'})"
    return f"the job {job} is queued again and continues from here"
