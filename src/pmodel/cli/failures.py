"""How a command ends when it cannot do its work: in words, and with the exit code that says whose fault it was."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from ..errors import BadInput, DataError, LostProcess, PmodelError, Stopped, UnknownName, shortened
from .console import plain, speaks

__all__ = ["FAILED", "INTERRUPTED", "USAGE", "guarded", "reading"]

FAILED = 1
USAGE = 2
INTERRUPTED = 130
GRACE = 10.0
"""Seconds for process 0 to say what is wrong; torchrun then ends the others."""


@contextmanager
def guarded(*, show_traceback: bool) -> Iterator[None]:
    """Turn any exception of a command into a message on stderr and an exit code.

    Args:
        show_traceback: Whether the traceback comes before the message.

    Raises:
        SystemExit: instead of the exception.
    """
    try:
        yield
    except typer.Exit:  # a command that has said what there is to say
        raise
    except KeyboardInterrupt:
        _end("Interrupted: the work was not finished.", INTERRUPTED, show_traceback)
    except BrokenPipeError:
        sys.stderr.close()  # whoever reads has seen enough; nobody is left to tell
        raise SystemExit(FAILED) from None
    except Stopped as error:
        _end(str(error), INTERRUPTED, show_traceback)
    except PmodelError as error:
        told = isinstance(error, LostProcess) and error.told
        _end(f"Error: {error}", _code(error), show_traceback, silent=told)
    except MemoryError:
        _end("Error: There is not enough memory for this.", FAILED, show_traceback)
    except Exception as error:  # a fault of pmodel's own: still no wall of text
        words = f"Internal error: {type(error).__name__}: {shortened(str(error))}"
        hint = "" if show_traceback else "\n  hint: run it again with --traceback to see where, and report it"
        _end(words + hint, FAILED, show_traceback)


def _code(error: PmodelError) -> int:
    """Names and values that cannot be right are wrong usage; data, runs and training fail."""
    return USAGE if isinstance(error, BadInput | UnknownName) else FAILED


def _end(message: str, code: int, show_traceback: bool, *, silent: bool = False) -> None:
    if show_traceback:
        traceback.print_exc()
    if speaks() or (code == FAILED and not silent):  # a failure may be this process's own; the rest is the same in all
        if "RANK" in os.environ:  # torchrun ends all processes when one has failed, but not before this is said
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print(plain(message), file=sys.stderr)  # noqa: T201
    elif code == USAGE:
        time.sleep(GRACE)
    raise SystemExit(code) from None


@contextmanager
def reading(source: str) -> Iterator[None]:
    """Report what is wrong with the content of a file as a fault of the data, not of the command line."""
    try:
        yield
    except BadInput as error:
        raise DataError(f"{source}: {error.problem}", got=error.got, hint=error.hint) from error
