"""Signals that ask a run to end: the step that is under way is finished first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["asked_to_stop"]


@contextmanager
def asked_to_stop(halt: Callable[[], None]) -> Iterator[list[str]]:
    """While the block runs, SIGINT and SIGTERM call ``halt``; a second SIGINT interrupts at once.

    Python handles signals in its main thread only: elsewhere nothing changes.

    Yields:
        The names of the signals that came.
    """
    came: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return

    def note(number: int, frame: FrameType | None) -> None:
        if came and number == signal.SIGINT:
            raise KeyboardInterrupt
        came.append(signal.Signals(number).name)
        halt()

    before = {number: signal.signal(number, note) or signal.SIG_DFL for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
