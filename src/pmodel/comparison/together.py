"""Several runs trained at the same time, each in a process of its own.

A run is planned while nothing else runs, with the threads that it will have: a step that is timed beside others' steps would
say little of either. The plan is recorded, and then followed in a process that resumes the run from its record. Only training
is shared out: speed and memory are measured by a process that has the machine for itself.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, final

import torch

from ..data import Dataset
from ..errors import Stopped
from ..train import Sampled
from ..train.preparation import threads_set
from ..train.signals import asked_to_stop
from .job import Job, Tell
from .running import AGAIN, train, words

__all__ = ["train_together"]


def train_together(jobs: Sequence[Job], data: Dataset, count: int, tells: Sequence[Tell]) -> dict[Path, str]:
    """Train the runs that are not there yet.

    Args:
        jobs: The runs.
        data: What they learn from.
        count: How many at a time.
        tells: Told what happens to each.

    Returns:
        Why runs failed, by their folders.

    Raises:
        Stopped: if a signal ended it; everything is saved.
    """
    waiting = [(job, tell) for job, tell in zip(jobs, tells, strict=True) if not job.done]
    threads = max(1, torch.get_num_threads() // count)
    failed: dict[Path, str] = {}
    with threads_set(threads):
        for job, tell in waiting:
            reason = _planned(job, data)
            if reason:
                failed[job.folder] = reason
                tell("failed", words=reason)
    pool = _Pool([(job, tell) for job, tell in waiting if job.folder not in failed], data, count, threads)
    with asked_to_stop(pool.stop):
        pool.run()
    if pool.stopped:
        raise Stopped("Stopped by a signal; everything is saved.", hint=AGAIN)
    return failed | pool.failed


def _planned(job: Job, data: Dataset) -> str:
    """Record a run's plan, if it has none; why it cannot be planned, or nothing."""
    if job.begun:
        return ""

    def enough(stage: str, **_: Any) -> None:
        if stage == "fit":  # the first event of the loop: the plan is written, nothing is learned
            raise Stopped("planned")

    try:
        train(job, data, enough)
    except Stopped:
        return ""
    except Exception as error:  # as in any other run of a comparison
        return words(error)
    return ""


@final
@dataclass
class _Running:
    """A process, and where it tells what happens."""

    job: Job
    tell: Tell
    process: SpawnProcess
    ear: Connection


class _Pool:
    """At most so many runs at a time, in processes."""

    def __init__(self, waiting: list[tuple[Job, Tell]], data: Dataset, count: int, threads: int) -> None:
        self.waiting, self.data, self.count, self.threads = waiting[::-1], data, count, threads
        self.running: list[_Running] = []
        self.failed: dict[Path, str] = {}
        self.stopped = False

    def stop(self) -> None:
        """Ask every run to save and end."""
        self.stopped = True
        for running in self.running:
            running.process.terminate()

    def run(self) -> None:
        """Until all are done, or stopped."""
        try:
            while self.running or (self.waiting and not self.stopped):
                while self.waiting and len(self.running) < self.count and not self.stopped:
                    self.running.append(self._started(*self.waiting.pop()))
                for ear in wait([running.ear for running in self.running], timeout=0.5):
                    self._hear(next(running for running in self.running if running.ear is ear))
        except BaseException:
            for running in self.running:
                running.process.kill()
            raise

    def _started(self, job: Job, tell: Tell) -> _Running:
        spawn = multiprocessing.get_context("spawn")
        ear, mouth = spawn.Pipe(duplex=False)
        process = spawn.Process(target=_trained, args=(job, self.data, self.threads, mouth), daemon=True)
        with _deaf():
            process.start()
        mouth.close()
        return _Running(job, tell, process, ear)

    def _hear(self, running: _Running) -> None:
        """Pass on what a process says; its last words are why it failed, or nothing."""
        try:
            said: Mapping[str, Any] = running.ear.recv()
        except EOFError:
            running.process.join()
            lost = f"its process was lost, with exit code {running.process.exitcode}"
            said = {"last": None if self.stopped else lost}  # stopped before it could answer signals
        if "last" not in said:
            running.tell(**said)
            return
        running.process.join()
        running.ear.close()
        self.running.remove(running)
        if said["last"] is None:
            self.stopped = True
        elif said["last"]:
            self.failed[running.job.folder] = said["last"]
            running.tell("failed", words=said["last"])


@contextmanager
def _deaf() -> Iterator[None]:
    """A process that is started meanwhile does not hear Ctrl-C until it trains: it is this one that asks it to stop."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _trained(job: Job, data: Dataset, threads: int, mouth: Connection) -> None:
    """In a process of its own: train, and say how it went."""
    torch.set_num_threads(threads)
    last: str | None = ""
    try:
        train(job, data, _speaking(mouth))
    except Stopped:
        last = None
    except Exception as error:  # one model's failure must not cost the others
        last = words(error)
    mouth.send({"last": last})
    mouth.close()


def _speaking(mouth: Connection) -> Callable[..., None]:
    def told(stage: str, **more: Any) -> None:
        if not isinstance(more.get("event"), Sampled):  # pictures are for who looks at one run
            mouth.send({"stage": stage, **more})

    return told
