"""The command line of an example that measures something, tells what it found and draws a picture of it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from matplotlib.figure import Figure

__all__ = ["run"]

Found = TypeVar("Found")
"""What an example measures."""


def run(
    script: str,
    words: str | None,
    measured: Callable[[], Found],
    told: Callable[[Found], str],
    drawn: Callable[[Found], Figure],
) -> None:
    """Print what is found, and save its picture where ``--out`` says.

    Args:
        script: The example's file: the picture has its name.
        words: Its docstring, whose first line says what it does.
        measured: Finds it.
        told: It in words.
        drawn: It as a picture.
    """
    parser = argparse.ArgumentParser(description=(words or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(f"{Path(script).stem}.png"))
    out = parser.parse_args().out
    found = measured()
    print(told(found))
    drawn(found).savefig(out, dpi=100)
    print(f"the picture: {out}")
