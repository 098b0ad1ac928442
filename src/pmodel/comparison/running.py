"""Fit and measure one model of a comparison: an interrupted run goes on, and a failure becomes words."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Any, final

from ..data import Dataset
from ..errors import LostProcess, PmodelError, RunError, Stopped
from ..evaluation import Bench, Evaluation, read_evaluation
from ..storage import RECORD, load, read_json, write_json
from ..train import fit
from .job import SPECIFICATION, Job, Tell

__all__ = ["AGAIN", "Outcome", "outcome", "train", "words"]

MOST_WORDS = 80
"""Of what was got: a longer one is no text for a table."""
AGAIN = "make the same comparison again, in the same folder, and it goes on"


@final
@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of a job: an evaluation, or the reason why there is none."""

    job: Job
    evaluation: Evaluation | None
    record: dict[str, Any]
    error: str = ""


def outcome(job: Job, data: Dataset, bench: Bench, tell: Tell, failed: str = "") -> Outcome:
    """Fit and measure, or read what an earlier call has done; whatever goes wrong becomes words.

    Args:
        job: The run.
        data: What it learns from.
        bench: What it is measured on.
        tell: Told what happens.
        failed: Why it has failed already, if it has.

    Raises:
        Stopped: if a signal ended it.
    """
    try:
        if failed:
            return Outcome(job, None, {}, failed)
        if not job.done:
            train(job, data, tell)
        evaluation = _evaluated(job, bench, tell)
    except Stopped as stop:
        raise Stopped(stop.problem, hint=AGAIN) from stop
    except Exception as error:  # one model's failure, of any kind, must not cost the others
        tell("failed", words=words(error))
        return Outcome(job, None, {}, words(error))
    tell("done")
    return Outcome(job, evaluation, read_json(job.folder / RECORD))


def words(error: Exception) -> str:
    """Why a run failed, in a line."""
    if not isinstance(error, PmodelError):
        return f"{type(error).__name__}: {error}"
    got = "" if error.got is None else str(error.got)
    return f"{error.problem} got: {got}" if 0 < len(got) <= MOST_WORDS else error.problem


def train(job: Job, data: Dataset, tell: Tell) -> None:
    """Fit into a folder beside, and move the run in place when it is whole; one that was interrupted goes on."""
    entry, asked = job.entry, job.specification
    write_json(job.partial / SPECIFICATION, asked)
    run = job.partial / "run"
    try:
        fit(
            entry.name,
            data,
            out=run,
            steps=asked["steps"],
            budget=asked["budget"],
            size=asked["size"],
            seed=job.seed,
            conditional=entry.conditional,
            settings=entry.settings,
            precision=asked["precision"],
            device=asked["device"],
            resume=True,
            on_event=lambda event: tell("fit", event=event),
            **entry.options,
        )
    except (Stopped, LostProcess, RunError):  # what has been learned so far is still good
        if not (run / RECORD).exists():
            shutil.rmtree(job.partial, ignore_errors=True)
        raise
    except Exception:
        shutil.rmtree(job.partial, ignore_errors=True)
        raise
    write_json(run / SPECIFICATION, asked)
    run.rename(job.folder)
    shutil.rmtree(job.partial, ignore_errors=True)


def _evaluated(job: Job, bench: Bench, tell: Tell) -> Evaluation:
    """The evaluation in the run folder if it was made on this bench, else a new one, kept there."""
    try:
        evaluation, protocol = read_evaluation(job.folder)
        if protocol == bench.protocol:
            return evaluation
    except RunError:
        pass  # none yet, or not a whole one
    tell("evaluate")
    evaluation = bench.evaluate(load(job.folder, device=job.specification["device"]), read_json(job.folder / RECORD))
    evaluation.save(job.folder, bench.protocol)
    return evaluation
