"""Many small trainings on all cores: one process a core, one thread each, so that the numbers depend on neither."""

import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from rich.progress import track

Case = TypeVar("Case")
Answer = TypeVar("Answer")


def spread(
    work: Callable[[Case], Iterable[Answer]], cases: Sequence[Case], title: str, workers: int | None = None
) -> list[Answer]:
    """All that work(case) answers for every case, in their order; as many processes as there are cores, or `workers`.

    `work` and the cases are pickled. Each process computes with one thread, also where it is this one (workers=1): the
    order in which sums are taken, and so every bit, is the same however many there are. Ctrl-C ends them all.
    """
    workers = min(len(cases), workers or len(os.sched_getaffinity(0)))
    if workers <= 1:
        with one_thread():
            return [answer for case in track(cases, title, transient=True) for answer in work(case)]
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin) as pool:
        try:
            answers = track(pool.map(work, cases), title, total=len(cases), transient=True)
            return [answer for each in answers for answer in each]
        except BaseException:
            processes = [*(pool._processes or {}).values()]
            pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.terminate()
            raise


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, torch computes with one thread: a second gains nothing on small tensors, and spins on busy cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _begin() -> None:
    """What each process does first: one thread; Ctrl-C is the parent's to answer, and nobody outlives it."""
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()  # returns when it is gone, however it went
    os._exit(1)
