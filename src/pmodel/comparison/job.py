"""One run of a comparison: what it is asked to be, and the folder it has."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

from .. import __version__
from ..errors import RunError
from ..storage import RECORD, read_json
from ..train import Event
from .entry import Entry

__all__ = ["SPECIFICATION", "Job", "Progress", "Tell", "job_of", "plain_name", "require_same", "telling"]

SPECIFICATION = "specification.json"
"""What a run of a comparison was asked to be: it is used again only for the same."""


@final
@dataclass(frozen=True)
class Progress:
    """Where a comparison is.

    Args:
        stage: What is being done, or has just happened.
        label: The model, or the data's name.
        seed: Of its training.
        number: Which run this is, from 1.
        runs: How many there are.
        event: Of the training, in the stage ``fit``.
        share: The part that is done, in the stage ``judge``.
        words: Why, in the stage ``failed``.
    """

    stage: Literal["judge", "fit", "evaluate", "reused", "failed", "done", "report"]
    label: str
    seed: int = 0
    number: int = 0
    runs: int = 0
    event: Event | None = None
    share: float = 0.0
    words: str = ""


Tell = Callable[..., None]
"""Told a stage, and what belongs to it, of one run."""


@final
@dataclass(frozen=True)
class Job:
    """One run of a comparison."""

    entry: Entry
    seed: int
    folder: Path
    specification: dict[str, Any]

    @property
    def partial(self) -> Path:
        """Where it is until it is whole: the specification, and the run in a folder of its own."""
        return self.folder.with_name(f".{self.folder.name}.partial")

    @property
    def begun(self) -> bool:
        """Whether it has a plan."""
        return (self.partial / "run" / RECORD).exists()

    @property
    def done(self) -> bool:
        """Whether it is whole."""
        return (self.folder / SPECIFICATION).exists()


def job_of(entry: Entry, seed: int, out: Path, shared: Mapping[str, Any]) -> Job:
    """The run of a model and a seed, among what all runs of the comparison share."""
    specification = {**shared, "model": entry.name, "set": entry.spelling, "seed": seed, "version": __version__}
    specification["size"] = entry.size or shared["size"]
    return Job(entry, seed, out / "runs" / f"{plain_name(entry.label)}-s{seed}", json.loads(json.dumps(specification)))


def plain_name(label: str) -> str:
    """The label as a plain file name; what had to be left out is told apart by a hash."""
    plain = re.sub(r"[^A-Za-z0-9=.,_-]+", "-", label)[:80]
    if plain == label.replace(":", "-", 1):
        return plain
    return f"{plain}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"


def require_same(job: Job) -> None:
    """A run that is there, whole or in part, must be the one that is asked for: it is never replaced.

    Raises:
        RunError: if it is another.
    """
    if job.folder.exists():
        folder = job.folder
    elif job.begun:
        folder = job.partial
    else:
        return
    found = read_json(folder / SPECIFICATION)
    odd = [name for name in {**found, **job.specification} if found.get(name) != job.specification.get(name)]
    if odd:
        name = odd[0]
        raise RunError(
            f"{folder} is a run of another comparison: its {name} differs.",
            got=f"{found.get(name)}, asked for {job.specification.get(name)}",
            hint="choose another folder for this comparison, or remove this one",
        )


def telling(tell: Callable[[Progress], None], job: Job, number: int, runs: int) -> Tell:
    """Tells what happens to one run."""

    def told(stage: Any, **more: Any) -> None:
        tell(Progress(stage, job.entry.label, job.seed, number, runs, **more))

    return told
