"""The progress of training on a terminal: it is there while training goes on, and leaves nothing behind."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self, final

from .console import console, duration_words, plain
from .course import Course

if TYPE_CHECKING:
    from rich.live import Live

    from ..domain import Domain
    from ..train import Event

__all__ = ["Progress", "Together"]

LOOKS = 2
"""A second: one takes a few thousandths of a second."""


@final
class Progress:
    """A view that follows the events of a run; nothing where stderr is not a terminal.

    Args:
        title: What is being trained.
        domain: Of the data, to show samples.
    """

    def __init__(self, title: str, domain: Domain | None = None) -> None:
        self.title = title
        self.domain = domain
        self.course = Course()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if console().is_terminal and not console().is_dumb_terminal:
            from rich.live import Live

            from .view import View

            view = View(self.title, self.course, console(), self.domain)
            self._live = Live(
                get_renderable=view,
                console=console(),
                refresh_per_second=LOOKS,
                transient=True,
                redirect_stdout=False,
                vertical_overflow="crop",
            )
            self._live.start(refresh=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, event: Event) -> None:
        """Take the next event; the view shows it when it looks next."""
        if self._live is not None:
            self.course.tell(event)


@final
class Together:
    """A line for each of several runs that are trained at the same time; nothing where stderr is not a terminal."""

    def __init__(self) -> None:
        self.courses: dict[str, Course] = {}
        self._live: Live | None = None

    def show(self, title: str, event: Event) -> None:
        """Take the next event of a run."""
        if self._live is None and console().is_terminal and not console().is_dumb_terminal:
            from rich.live import Live

            self._live = Live(get_renderable=self._lines, console=console(), refresh_per_second=LOOKS, transient=True)
            self._live.start()
        self.courses.setdefault(title, Course()).tell(event)

    def close(self) -> None:
        """Leave nothing behind."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _lines(self) -> str:
        return plain("\n".join(_line(title, course) for title, course in self.courses.items() if course.share < 1))


def _line(title: str, course: Course) -> str:
    left = "" if course.left is None else f", {duration_words(course.left)} left"
    return f"{title}: {course.share:.0%}{left}"
