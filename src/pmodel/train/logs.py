"""Where the events of a run are written while it trains: lines of JSON, and TensorBoard.

A log is never read back by training: a run with no log gives the same bits. ``docs/events.md`` describes the lines.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, final

import numpy as np

from ..errors import NotSupported, RunError, unknown
from ..pictures import grid
from . import events
from .events import Event

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from ..domain import Domain

__all__ = ["LOG", "LOGS", "SCHEMA", "JsonLines", "Log", "TensorBoard", "open_logs", "require_logs"]

LOGS = ("jsonl", "tensorboard")
SCHEMA = "pmodel.events/1"
"""Of the lines: the number grows when a field changes its meaning or goes away, not when one is added."""
LOG = "events.jsonl"


class Log(Protocol):
    """Something that takes the events of a run, in order."""

    def write(self, event: Event) -> None:
        """Take one event."""

    def flush(self) -> int:
        """Bring everything to the disk; how long the log is now, in bytes, or 0 where that means nothing."""

    def close(self) -> None:
        """Write what is left; nothing comes after."""


def require_logs(names: Sequence[str]) -> None:
    """Refuse what cannot be written, before any work is done.

    Raises:
        UnknownName: if there is no such log.
        NotSupported: if the package that it needs is not installed.
    """
    for name in names:
        if name not in LOGS:
            raise unknown("log", str(name), LOGS)
    if "tensorboard" in names and find_spec("tensorboard") is None:
        raise NotSupported(
            "TensorBoard is not installed.", hint='pip install "pmodel[tensorboard]", or choose the log jsonl'
        )


def open_logs(
    names: Sequence[str], folder: Path, position: int | None = None, domain: Domain | None = None
) -> list[Log]:
    """The logs of a run, in its folder.

    Args:
        names: Some of ``LOGS``.
        folder: The run folder.
        position: Where the lines of a run that goes on were when its checkpoint was written; None begins anew.
        domain: Of the data: how samples become pictures. None leaves them out.

    Raises:
        UnknownName: if there is no such log.
        NotSupported: if the package that it needs is not installed.
        RunError: if the folder cannot be written.
    """
    require_logs(names)
    logs: list[Log] = [JsonLines(folder / LOG, position)] if "jsonl" in names else []
    if "tensorboard" in names:
        logs.append(TensorBoard(folder / "tensorboard", domain))
    return logs


@final
class JsonLines:
    """One line of strict JSON an event, readable while the run goes on.

    Args:
        path: The file.
        position: None for a new file, in the place of any other; else the run goes on from a checkpoint that was
            written when the file was so long, and what came later is cut off, for it will happen again.

    Raises:
        RunError: if the file cannot be written.
    """

    def __init__(self, path: Path, position: int | None = None) -> None:
        self.path = path
        with _writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("wb" if position is None else "ab", buffering=0)
            if position is not None and position < self._file.tell():
                self._file.truncate(position)
                self._file.seek(position)

    def write(self, event: Event) -> None:
        """Add a line, whole at once for whoever follows the file."""
        with _writing(self.path):
            if self._file.tell() == 0:
                self._line({"event": "log", "schema": SCHEMA})
            self._line(finite(events.to_json(event)))

    def _line(self, value: dict[str, Any]) -> None:
        rest = memoryview((json.dumps(value, allow_nan=False, ensure_ascii=False) + "\n").encode())
        while rest:
            rest = rest[self._file.write(rest) :]

    def flush(self) -> int:
        """Bring all lines to the disk; the length of the file."""
        with _writing(self.path):
            os.fsync(self._file.fileno())
            return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        with _writing(self.path):
            self._file.close()


def finite(value: Any) -> Any:
    """The value with None in the place of every number that JSON cannot say."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value


@final
class TensorBoard:
    """Losses, validation, pictures and verdicts for TensorBoard. Its step counts gradient steps, then passes.

    Args:
        folder: Where its files go.
        domain: Of the data; None, or data that are no images, leave pictures out.
    """

    def __init__(self, folder: Path, domain: Domain | None = None) -> None:
        self.folder = folder
        self.domain = domain if domain is not None and domain.image else None
        self._steps = 0  # gradient steps done: passes count on from there
        self._waiting: list[events.Sampled] = []
        self._writer = _writer(folder)

    def write(self, event: Event) -> None:
        """Write what TensorBoard can show of the event."""
        with _writing(self.folder):
            match event:
                case events.Stepped():
                    self._steps = event.step
                    self._measured({f"loss/{name}": value for name, value in event.losses.items()}, event, event.step)
                case events.Iterated():
                    log_prob = {} if event.log_prob is None else {"training/log_prob": event.log_prob}
                    self._measured(log_prob, event, self._steps + event.iteration)
                case events.Validated():
                    self._writer.add_scalar(f"validation/{event.kind}", event.value, event.step)
                case events.Sampled():
                    self._waiting.append(event)  # it gets the number of the event that ends its step
                case events.Diagnosed():
                    self._writer.add_text(f"verdict/{event.diagnosis.name}", str(event.diagnosis), event.step)
                case events.Rescued():
                    self._go_back(event.step)
                    self._writer.add_text("rescue", f"rate × {event.rate:g}, {event.precision}", event.step)
                case events.Resumed():
                    self._steps = event.step
                    self._go_back(event.step + event.iteration)
                case events.Finished():
                    self._draw(event.steps + event.iterations)
                    self._writer.add_text("result", event.reason, event.steps + event.iterations)

    def _measured(self, numbers: Mapping[str, float], event: events.Stepped | events.Iterated, step: int) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)
        if event.seconds > 0:
            self._writer.add_scalar("speed/data per second", event.images / event.seconds, step)
        self._draw(step)

    def _draw(self, step: int) -> None:
        """Show the samples that waited for the number of their step."""
        if self.domain is not None:
            for sampled in self._waiting:
                self._writer.add_image(
                    "samples", np.asarray(grid(sampled.x, self.domain).convert("RGB")), step, dataformats="HWC"
                )
        self._waiting.clear()

    def _go_back(self, step: int) -> None:
        """Have TensorBoard forget what came after this step: it happens again."""
        self._waiting.clear()
        self._writer.close()
        self._writer = _writer(self.folder, forget=step + 1)

    def flush(self) -> int:
        """Bring everything to the disk; 0, for files of TensorBoard are never cut off."""
        with _writing(self.folder):
            self._writer.flush()
        return 0

    def close(self) -> None:
        """Write what is left."""
        with _writing(self.folder):
            self._writer.close()


def _writer(folder: Path, *, forget: int | None = None) -> SummaryWriter:
    from torch.utils.tensorboard import SummaryWriter  # late: it takes most of a second

    with _writing(folder):
        return SummaryWriter(str(folder), purge_step=forget)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say in words why a log cannot be written: a full disk, most often."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise RunError(f"{path} cannot be written: {reason}.", hint="free space or choose another folder") from error
