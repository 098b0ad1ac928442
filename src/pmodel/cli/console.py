"""What is written: JSON for programs on stdout, text and tables for people on stderr.

Names come from files, so nothing that is printed is interpreted: no markup, and no control characters that could move the
cursor or retitle a terminal.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["console", "duration_words", "emit", "plain", "print_text", "say", "show_table", "speaks"]

WIDE = 160
"""Characters in a line where stderr is not a terminal."""


def speaks() -> bool:
    """Whether this process speaks for the run: under torchrun, the first of them does."""
    return os.environ.get("RANK", "0") == "0"


@cache
def console() -> Console:
    """The people's console: stderr, without markup."""
    from rich.console import Console

    width = None if sys.stderr.isatty() else WIDE
    return Console(stderr=True, markup=False, highlight=False, emoji=False, width=width, quiet=not speaks())


def plain(value: object) -> str:
    """Text with everything unprintable, but line ends, written as an escape."""
    text = str(value)
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def emit(value: Any) -> None:
    """Write one JSON value to stdout."""
    if speaks():
        sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")
        sys.stdout.flush()


def print_text(text: str) -> None:
    """Write a text that was drawn to stdout, and a blank line after it."""
    if speaks():
        sys.stdout.write(plain(text) + "\n\n")
        sys.stdout.flush()


def say(*lines: object) -> None:
    """Write lines for people."""
    for line in lines:
        console().print(plain(line), soft_wrap=True)


def show_table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> None:
    """Write a table for people; where it is too wide, the last column is folded.

    Args:
        headings: Of the columns.
        rows: Cells; None leaves one empty.
        right: Headings of the columns that are aligned to the right.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        last = heading == headings[-1]
        table.add_column(heading, justify="right" if heading in right else "left", overflow="fold", no_wrap=not last)
    for row in rows:
        table.add_row(*(Text("" if cell is None else plain(cell)) for cell in row))
    console().print(table)


def duration_words(seconds: float) -> str:
    """Seconds as people say them: ``0.4 s``, ``38 s``, ``2 min 05 s``, ``1 h 30 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
