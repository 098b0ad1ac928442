"""What a run leaves in its folder while it trains, and how a stopped run is found there again."""

from __future__ import annotations

import os
import platform
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

import torch

from .. import __version__
from ..data import Dataset, described
from ..errors import Diverged, RunError
from ..model import Model
from ..pictures import grid, png
from ..settings import spelt_data
from ..storage import RECORD, SCHEMA, TENSORS, read_json, remove_unfinished, write_atomic, write_json, write_tensors
from . import events
from .checkpoint import clear_checkpoint, write_checkpoint
from .diagnosis import Diagnosis
from .events import Diagnosed, Event, Finished, Iterated, Sampled, Saved, Started, Stepped
from .logs import Log, open_logs
from .loop import Training
from .planning import Plan
from .processes import launcher

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

__all__ = ["RunFolder", "found", "new_record", "resume_command"]

SHARE = 0.02
"""Checkpoints come so seldom that writing them takes at most this part of the time."""


def found(folder: Path, *, resume: bool) -> dict[str, Any] | None:
    """The record of the run in a folder that is to be resumed, or None if a new run may begin there.

    Raises:
        RunError: if there is a run, or something else, and it is not to be resumed.
    """
    recorded = (folder / RECORD).exists()
    if resume:
        if recorded:
            return read_json(folder / RECORD)
        if folder.exists() and any(not path.name.startswith(f".{RECORD}.") for path in folder.iterdir()):
            raise RunError(f"{folder} holds no run to resume.", hint="leave --resume out, and choose another --out")
        return None  # it was stopped before it had a record: nothing had been learned
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if recorded and read_json(folder / RECORD).get("status") == "training":
            raise RunError(
                f"{folder} holds a run that has not finished.", hint="go on with --resume, or choose another --out"
            )
        what = "holds a run already" if recorded else "is not empty"
        raise RunError(f"{folder} {what}.", hint="choose another --out, or remove it first")
    return None


def new_record(
    name: str, options: Mapping[str, Any], asked: Mapping[str, Any], model: Model, data: Dataset, plan: Plan
) -> dict[str, Any]:
    """Everything that is known of a run before it learns."""
    return {
        "schema": SCHEMA,
        "status": "training",
        "name": name,
        "options": dict(options),
        "asked": dict(asked),
        "seed": plan.seed,
        "data": described(data),
        "plan": plan.to_json(),
        "begun": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"pmodel": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "machine": {"system": sys.platform, "processor": platform.machine(), "device": plan.device},
        "model": model.spec(),
    }


@final
class RunFolder:
    """The files of a run under way. Nothing in it is ever half-written.

    Args:
        folder: Where; it is made.
        record: What is known of the run.
        training: The run.
        logs: The logs to keep.
        position: Where the log of a resumed run was; None for a new run.
        save_every: Seconds between checkpoints, at least; 0 for one after every report.

    Raises:
        RunError: if it cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        record: dict[str, Any],
        training: Training,
        logs: Sequence[str],
        position: int | None,
        save_every: float,
    ) -> None:
        self.folder, self.record, self.training, self.every = folder, record, training, save_every
        self.saved, self.cost = time.perf_counter(), 0.0
        self.claim, self.logs = _claimed(folder), list[Log]()
        self.position = position or 0
        try:
            if position is None and (folder / RECORD).exists():  # another process was quicker
                raise RunError(f"{folder} holds a run already.", hint="choose another --out")
            remove_unfinished(folder)
            if position is None:
                write_json(folder / RECORD, record)
            self.logs = open_logs(logs, folder, position, training.model.domain)
        except BaseException:
            self.close()
            raise

    def take(self, event: Event) -> Saved | None:
        """Write what there is to be written after an event; the event of a checkpoint, if this was the time for one."""
        model = self.training.model
        if isinstance(event, Sampled) and model.domain.image:
            picture = png(grid(event.x, model.domain))
            write_atomic(self.folder / "samples" / f"{round(1000 * event.progress):04d}.png", picture)
        for log in self.logs:
            log.write(event)
        return self.save() if self._due(event) else None

    def _due(self, event: Event) -> bool:
        """At the start, for there to be a state to go back to; then by the clock."""
        if isinstance(event, Started):
            return self.training.position.step + self.training.position.iteration == 0
        if not isinstance(event, Stepped | Iterated):
            return False
        late = time.perf_counter() - self.saved >= max(self.every, self.cost / SHARE if self.every else 0)
        return late and self.training.sound

    def save(self) -> Saved:
        """Write a checkpoint."""
        began = time.perf_counter()
        length = max([self.position, *(log.flush() for log in self.logs)])
        write_checkpoint(self.folder, self.training.state(), length)
        self.saved = time.perf_counter()
        self.cost = self.saved - began
        at = self.training.position
        saved = Saved(at.step, at.iteration, at.seconds)
        for log in self.logs:
            log.write(saved)
        return saved

    def finish(self, last: Finished) -> None:
        """Write the model and then the record that says so: a folder with such a record is whole."""
        model, at = self.training.model, self.training.position
        for log in self.logs:
            log.flush()  # the checkpoint from which a lost line would be written again goes away
            log.close()
        written = write_tensors(self.folder / TENSORS, model.state_dict())
        result = {
            **events.to_json(last),
            "rescues": at.rescues,
            "sha256": written["sha256"],
        }
        health = [{"step": found.step, **found.diagnosis.to_json()} for found in self.training.health]
        more = {"status": "finished", "result": result, "validation": at.validated, "health": health}
        written_at = {"written": datetime.now(UTC).isoformat(timespec="seconds")}
        self.record = {**self.record, **more, **written_at}
        write_json(self.folder / RECORD, self.record)
        clear_checkpoint(self.folder)

    def diverged(self, error: Diverged) -> None:
        """Record why the run cannot go on as it was planned; its last good state stays."""
        again = "begin anew in another --out, or start --from this run"
        verdict = Diagnosis(
            "divergence", error.problem, f"{error.hint}; {again}: resumed as it is, it diverges again", True
        )
        at = self.training.position
        for log in self.logs:
            log.write(Diagnosed(at.step, verdict, at.seconds))
        self.record["health"] = [{"step": at.step, **verdict.to_json()}]
        write_json(self.folder / RECORD, self.record)

    def close(self) -> None:
        """Close the logs, and let go of the folder."""
        for log in self.logs:
            log.close()
        if self.claim is not None:
            os.close(self.claim)
            self.claim = None

    @property
    def command(self) -> str:
        """The command that goes on with this run, in as many processes."""
        return launcher() + resume_command(self.folder, self.record)


def _claimed(folder: Path) -> int | None:
    """Hold a folder for this process alone: two that resume the same run would write over each other.

    The system lets go of it when the process ends, however it ends.

    Raises:
        RunError: if another process holds it, or it cannot be made.
    """
    if fcntl is None:
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise RunError(f"{folder} cannot be written: {error.strerror}.", hint="choose another --out") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise RunError(
            f"Another process is training in {folder}.", hint="wait for it, or choose another --out"
        ) from error
    except OSError:  # a file system that has no locks
        os.close(descriptor)
        return None
    return descriptor


def resume_command(folder: Path, record: Mapping[str, Any]) -> str:
    """The command that goes on with the stopped run of this record."""
    words = ["pmodel", "fit", record["name"], *spelt_data(record["data"])]
    return shlex.join([*words, "--out", str(folder), "--resume"])
