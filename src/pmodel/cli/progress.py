"""The progress of training on a terminal: how far, how long still, how fast, and the losses."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self, final

from .console import console, plain

if TYPE_CHECKING:
    from rich import progress as rich

    from ..train import Event, Iterated, Stepped

__all__ = ["Progress", "told"]


def told(event: Stepped | Iterated) -> str:
    """Speed and losses, in a few words."""
    speed = f"{event.images / event.seconds:,.0f}/s" if event.seconds else ""
    from ..train import Stepped

    if isinstance(event, Stepped):
        losses = [f"{name.rpartition('.')[2]} {value:.4g}" for name, value in event.losses.items()]
    else:
        losses = [] if event.log_prob is None else [f"log p {event.log_prob:.5g}"]
    return "  ".join([speed, *losses])


@final
class Progress:
    """A bar that follows the events of a run; nothing where stderr is not a terminal.

    Args:
        title: What is being trained.
    """

    def __init__(self, title: str) -> None:
        self.title = plain(title)
        self._bar: rich.Progress | None = None

    def __enter__(self) -> Self:
        if console().is_terminal:
            self._bar = _bar()
            self._task = self._bar.add_task(self.title, total=None, told="planning")
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, event: Event) -> None:
        """Move the bar."""
        if self._bar is None:
            return
        from ..train import Finished, Iterated, Started, Stepped

        if isinstance(event, Started):
            self._bar.reset(self._task, total=event.steps or event.iterations, told="")
        elif isinstance(event, Stepped):
            self._bar.update(self._task, completed=event.step, total=event.steps, told=told(event))
        elif isinstance(event, Iterated):
            self._bar.update(self._task, completed=event.iteration, total=event.iterations, told=told(event))
        elif isinstance(event, Finished):
            self._bar.update(self._task, total=1, completed=1)


def _bar() -> rich.Progress:
    from rich import progress as rich

    columns = (
        rich.TextColumn("{task.description}", markup=False),
        rich.BarColumn(),
        rich.TaskProgressColumn(),
        rich.TimeRemainingColumn(),
        rich.TextColumn("{task.fields[told]}", markup=False),
    )
    return rich.Progress(*columns, console=console(), transient=True)
